"""What a user of the package etcd3 does, against one of our nodes: etcd3_client.py HOST:PORT

Says `watching` when a watch is open, waits for a line of input (by then the leader is dead), goes on, and says `done`.
"""

import sys
import time

import etcd3

PATIENCE_SECONDS = 30


def until(what, look):
    """Looks again until it finds something, within a bound."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


def keys_and_transactions(client):
    client.put("py/a", "1")
    value, about = client.get("py/a")
    assert value == b"1" and about.version == 1, (value, about)
    assert client.put_if_not_exists("py/a", "2") is False
    assert client.replace("py/a", "1", "2")
    when = client.transactions
    succeeded, answers = client.transaction(
        compare=[when.value("py/a") == "2", when.version("py/a") > 1],
        success=[when.put("py/b", "3"), when.get("py/a")],
        failure=[when.delete("py/a")],
    )
    assert succeeded and answers[1][0][0] == b"2", answers
    assert [value for value, _ in client.get_prefix("py/")] == [b"2", b"3"]
    assert client.delete("py/b") and not client.delete("py/b")


def leases(client):
    lease = client.lease(2)
    client.put("py/leased", "x", lease=lease)
    for _ in range(4):
        time.sleep(1)
        (answer,) = lease.refresh()
        assert answer.TTL == 2, answer
    assert client.get("py/leased")[0] == b"x", "a lease that is kept alive has ended"
    assert lease.keys == [b"py/leased"] and lease.granted_ttl == 2
    until("the end of a lease", lambda: client.get("py/leased")[0] is None)


def locks(client, other):
    held = client.lock("py/lock", ttl=20)
    assert held.acquire(timeout=5) and held.is_acquired()
    assert not other.lock("py/lock", ttl=20).acquire(timeout=1), "two hold one lock"
    assert held.release()
    with other.lock("py/lock", ttl=20) as second:
        assert second.is_acquired()


def put(client, key, value):
    """A put that is not given up while there is no leader."""

    def attempt():
        try:
            client.put(key, value)
            return True
        except (etcd3.exceptions.ConnectionFailedError, etcd3.exceptions.ConnectionTimeoutError):
            return False

    until(f"a put of {key}", attempt)


def watch_over_a_change_of_leader(client):
    events, cancel = client.watch_prefix("py/watched/")
    client.put("py/watched/0", "0")
    first = next(events)
    print("watching", flush=True)
    assert sys.stdin.readline().strip() == "go"
    for number in range(1, 20):
        put(client, f"py/watched/{number}", str(number))
    found = {first.key}
    while len(found) < 20:
        event = next(events)
        assert event.key == b"py/watched/" + event.value, event
        found.add(event.key)
    cancel()


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    client = etcd3.client(host=host, port=int(port), timeout=10)
    other = etcd3.client(host=host, port=int(port), timeout=10)
    assert len(list(client.members)) == 3
    assert client.status().version.startswith("3.")
    keys_and_transactions(client)
    leases(client)
    locks(client, other)
    watch_over_a_change_of_leader(client)
    print("done", flush=True)


main()
