"""What a user of the package python-etcd does, against one of our nodes: python_etcd_client.py HOST:PORT

Says `watching` when a watch is open, waits for a line of input (by then the leader is dead), goes on, and says `done`.
"""

import sys
import threading
import time

import etcd
from etcd import auth

PATIENCE_SECONDS = 60


def until(what, look):
    """Looks again until it finds something, within a bound."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)


def refused(error, act):
    """What `act` is refused with."""
    try:
        answer = act()
    except error as refusal:
        return refusal
    raise AssertionError(f"not refused: {answer}")


def later(act):
    """Acts while the caller waits."""

    def wait_and_act():
        time.sleep(0.3)
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


def the_cluster(client):
    assert len(client.machines) == 3 and len(client.members) == 3, client.machines
    assert client.version.startswith("3."), client.version
    assert client.leader["clientURLs"], client.leader
    assert client.stats["name"] and "getsSuccess" in client.store_stats
    try:
        assert len(client.leader_stats["followers"]) == 2
    except etcd.EtcdException:
        pass  # This node follows.


def keys_and_directories(client):
    written = client.write("/py/a", "1")
    assert written.newKey and written.createdIndex == written.modifiedIndex
    assert client.read("/py/a").value == "1" and client.get("/py/a").etcd_index >= written.modifiedIndex
    again = client.set("/py/a", "zwei \u00fc/&=?")
    assert not again.newKey and again._prev_node.value == "1" and client.read("/py/a", quorum=True).value == again.value
    refused(etcd.EtcdAlreadyExist, lambda: client.write("/py/a", "3", prevExist=False))
    refused(etcd.EtcdKeyNotFound, lambda: client.read("/py/none"))
    refused(etcd.EtcdNotFile, lambda: client.write("/py", "x"))
    refused(etcd.EtcdNotDir, lambda: client.write("/py/a/b", "x"))
    refused(etcd.EtcdRootReadOnly, lambda: client.write("/", "x"))
    client.write("/py/dir", None, dir=True)
    for value in ("1", "2"):
        client.write("/py/dir/queue", value, append=True)
    queue = client.read("/py/dir/queue", sorted=True)
    assert queue.dir and [child.value for child in queue.children] == ["1", "2"]
    leaves = {leaf.key: leaf.value for leaf in client.read("/py", recursive=True).leaves}
    assert len(leaves) == 3 and leaves["/py/a"] == again.value, leaves
    assert "/py/a" in client and "/py/none" not in client
    refused(etcd.EtcdDirNotEmpty, lambda: client.delete("/py/dir", dir=True))
    assert client.pop("/py/a").value == again.value
    assert client.delete("/py/dir", recursive=True).action == "delete"


def compare_and_swap(client):
    first = client.write("/py/cas", "1")
    assert client.test_and_set("/py/cas", "2", "1").value == "2"
    refused(etcd.EtcdCompareFailed, lambda: client.test_and_set("/py/cas", "3", "1"))
    refused(etcd.EtcdCompareFailed, lambda: client.write("/py/cas", "3", prevIndex=first.modifiedIndex))
    node = client.read("/py/cas")
    node.value = "3"
    assert client.update(node).value == "3"
    refused(etcd.EtcdCompareFailed, lambda: client.delete("/py/cas", prevValue="x"))
    deleted = client.delete("/py/cas", prevValue="3", prevIndex=client.read("/py/cas").modifiedIndex)
    assert deleted.action == "compareAndDelete"


def times_to_live(client):
    assert 0 < client.write("/py/ttl", "1", ttl=5).ttl <= 5
    for _ in range(3):
        time.sleep(2)
        last = client.refresh("/py/ttl", ttl=5)
    assert client.read("/py/ttl").value == "1", "a key that is refreshed has ended"
    end = client.watch("/py/ttl", index=last.modifiedIndex + 1, timeout=PATIENCE_SECONDS)
    assert end.action == "expire", end
    client.write("/py/ttldir", None, dir=True, ttl=1)
    client.write("/py/ttldir/x", "1")
    until("the end of a directory", lambda: "/py/ttldir" not in client)


def watches(client, other):
    index = client.write("/py/mark", "1").modifiedIndex + 1
    thread = later(lambda: other.write("/py/w/x", "1"))
    seen = client.watch("/py/w", recursive=True, index=index, timeout=PATIENCE_SECONDS)
    thread.join()
    assert (seen.key, seen.value) == ("/py/w/x", "1"), seen
    for value in ("2", "3", "4"):
        other.write("/py/w/x", value)
    events = client.eternal_watch("/py/w/x", index=seen.modifiedIndex)
    assert [next(events).value for _ in range(4)] == ["1", "2", "3", "4"]
    refused(etcd.EtcdWatchTimedOut, lambda: client.watch("/py/w/none", timeout=1))


def locks(client, other):
    held = etcd.Lock(client, "py")
    assert held.acquire(blocking=True, lock_ttl=30) and held.is_acquired
    wants = etcd.Lock(other, "py")
    assert not wants.acquire(blocking=False, lock_ttl=30), "two hold one lock"
    thread = later(held.release)
    assert wants.acquire(blocking=True, lock_ttl=30, timeout=PATIENCE_SECONDS)
    thread.join()
    wants.release()
    with etcd.Lock(client, "py") as again:
        assert again.is_acquired


def election(client, other):
    """Whoever makes the key leads while it keeps it; the others wait for its end."""
    client.write("/py/leader", "one", prevExist=False, ttl=60)
    refused(etcd.EtcdAlreadyExist, lambda: other.write("/py/leader", "two", prevExist=False, ttl=60))
    kept = client.refresh("/py/leader", ttl=1)
    assert other.watch("/py/leader", index=kept.modifiedIndex + 1, timeout=PATIENCE_SECONDS).action == "expire"
    assert other.write("/py/leader", "two", prevExist=False, ttl=60).value == "two"
    refused(etcd.EtcdCompareFailed, lambda: client.delete("/py/leader", prevValue="one"))
    other.delete("/py/leader", prevValue="two")


def users_and_roles(client, endpoint):
    role = auth.EtcdRole(client, "py")
    role.grant("/py/*", "RW")
    role.write()
    role.read()
    assert role.acls == {"/py/*": "RW"}, role.acls
    user = auth.EtcdUser(client, "py")
    user.roles, user.password = ["py"], "secret"
    user.write()
    assert [known["user"] for known in user.names] == ["py"], user.names
    assert [known["role"] for known in role.names] == ["py", "root"], role.names
    root = auth.EtcdUser(client, "root")
    root.password = "rpw"
    root.write()
    auth.Auth(client).active = True
    host, port = endpoint.rsplit(":", 1)
    boss = etcd.Client(host=host, port=int(port), username="root", password="rpw")
    guest = auth.EtcdRole(boss, "guest")
    guest.read()
    guest.revoke("/*", "RW")
    guest.write()
    refused(etcd.EtcdInsufficientPermissions, lambda: client.write("/py/x", "1"))
    known = etcd.Client(host=host, port=int(port), username="py", password="secret")
    assert known.write("/py/x", "1").value == "1"
    refused(etcd.EtcdInsufficientPermissions, lambda: known.write("/other", "1"))
    auth.Auth(boss).active = False
    assert client.write("/other", "1").value == "1"


def through_the_leaders_death(client, other):
    index = client.write("/py/other", "1").modifiedIndex
    events = client.eternal_watch("/py/death", index=index)
    heard = []
    thread = threading.Thread(target=lambda: heard.extend(next(events).value for _ in range(2)))
    thread.start()
    other.write("/py/death", "before")
    print("watching", flush=True)
    sys.stdin.readline()

    def write():
        try:
            return other.write("/py/death", "after")
        except etcd.EtcdException:
            return None

    until("a write after the leader's death", write)
    thread.join(PATIENCE_SECONDS)
    # A write whose answer was lost may have happened, and was made again.
    assert heard == ["before", "after"], heard


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    client, other = (etcd.Client(host=host, port=int(port), read_timeout=PATIENCE_SECONDS) for _ in range(2))
    the_cluster(client)
    keys_and_directories(client)
    compare_and_swap(client)
    times_to_live(client)
    watches(client, other)
    locks(client, other)
    election(client, other)
    users_and_roles(client, sys.argv[1])
    through_the_leaders_death(client, other)
    print("done", flush=True)


main()
