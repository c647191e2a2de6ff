//! A client that behaves, beside others that do not: it writes and reads all the time, and nothing it asks for may fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use corenode::remote::channel;
use corenode::wire::etcdserverpb::kv_client::KvClient;
use corenode::wire::etcdserverpb::{PutRequest, RangeRequest};

use super::WITHIN;

pub struct Beside {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Beside {
    pub fn start(address: SocketAddr) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (told, count) = (stop.clone(), served.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                while !told.load(Ordering::Relaxed) {
                    let number = count.load(Ordering::Relaxed);
                    tokio::time::timeout(WITHIN, ask(address, number)).await.expect("a client beside waits in vain");
                    count.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        });
        Self { stop, served, thread: Some(thread) }
    }

    /// How many rounds it was served.
    pub fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Ends it; panics where anything failed.
    pub fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        assert!(self.served() > 0, "the client beside was not served once");
    }
}

/// One round, on a connection of its own.
async fn ask(address: SocketAddr, number: usize) {
    let channel = channel(&address.to_string().parse().unwrap(), WITHIN).await.unwrap();
    let mut client = KvClient::new(channel);
    let value = number.to_string();
    let put = PutRequest { key: "beside".into(), value: value.clone().into(), ..PutRequest::default() };
    client.put(put).await.unwrap();
    let range = RangeRequest { key: "beside".into(), ..RangeRequest::default() };
    let found = client.range(range).await.unwrap().into_inner();
    assert_eq!(found.kvs[0].value, value.as_bytes());
}
