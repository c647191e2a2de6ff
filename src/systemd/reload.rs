//! One daemon-reload for all who need one at the same moment.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// Lets through whoever finds that his turn has not been done by another.
#[derive(Default)]
pub struct Turnstile {
    asked: AtomicU64,
    /// All who asked up to this number have been served.
    served: Mutex<u64>,
}

impl Turnstile {
    /// Does `work`, unless someone began it after this call and brought it to a good end. Where it fails, each of those who
    /// wait for it tries it himself.
    pub async fn pass<E>(&self, work: impl Future<Output = Result<(), E>>) -> Result<(), E> {
        let ticket = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut served = self.served.lock().await;
        if *served >= ticket {
            return Ok(());
        }
        let up_to = self.asked.load(Ordering::SeqCst);
        work.await?;
        *served = up_to;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn those_who_wait_together_are_served_together() {
        let turnstile = Arc::new(Turnstile::default());
        let works = Arc::new(AtomicU64::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let (turnstile, works, gate) = (turnstile.clone(), works.clone(), gate.clone());
                tokio::spawn(async move {
                    let work = async {
                        works.fetch_add(1, Ordering::SeqCst);
                        gate.acquire().await.unwrap().forget();
                        Ok::<(), ()>(())
                    };
                    turnstile.pass(work).await
                })
            })
            .collect();
        // On this one thread every task has asked before the first work comes to its end.
        while turnstile.asked.load(Ordering::SeqCst) < 50 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(50);
        for task in tasks {
            assert_eq!(task.await.unwrap(), Ok(()));
        }
        assert_eq!(works.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_failure_serves_nobody() {
        let turnstile = Turnstile::default();
        assert_eq!(turnstile.pass(async { Err("no") }).await, Err("no"));
        assert_eq!(turnstile.pass(async { Ok::<(), &str>(()) }).await, Ok(()));
    }
}
