# The verbs a person types. `make demo` and `make test` need Rust and nothing else.

CARGO ?= cargo
FEATURES := scheduler systemd docker template api cloudinit
# Tests of the binary that take seconds and need no root; the rest take a minute or two, and root.
QUICK := tidy wire licences process node confd_face templates etcd auth tls websocket kv_history rollout fleetctl fleetctl_real fleetd \
	exec fleet_reference abuse birth trust roles logs cloudinit docs backup doctor packages upgrade recovery
SLOW := cluster watch half_open members restore import full_disk doctor_faults lost_disk scheduling exclusive etcdctl3 etcdctl2 v2 discovery \
	discovery_srv confd_etcd clients containers hosts backup_s3
STATIC_TARGET := x86_64-unknown-linux-musl

.PHONY: demo test check integration compare-fleetctl static deb image bench bench-fleet bench-template bench-containers generate fix

# Three nodes on loopback do the main job once, each step with its command, and everything is gone at the end.
demo:
	$(CARGO) build --locked --bin node
	integration/demo.sh target/debug/node

test:
	$(CARGO) test --locked --no-fail-fast --lib --bins --examples $(QUICK:%=--test %)

check:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --no-default-features --lib --bins -- -D warnings
	set -e; for feature in $(FEATURES); do \
		$(CARGO) clippy --locked --no-default-features --features $$feature --lib --bins -- -D warnings; \
	done
	$(CARGO) test --locked --test tidy --test licences
	vagrant/validate.sh

# Real hosts: containers that boot systemd and run a Docker engine of their own. Needs root; installs what it needs.
integration:
	integration/hosts/provision.sh
	$(CARGO) build --locked --bin node
	integration/previous.sh
	$(CARGO) test --locked --no-fail-fast $(SLOW:%=--test %) -- --test-threads=1

# fleet's own fleetctl and ours, one command line after the other on the same nodes: `make compare-fleetctl FLEETCTL=path`. Two minutes
# and the build. integration/fleetctl_real.rs says how the original is built.
compare-fleetctl:
	FLEETCTL=$(abspath $(FLEETCTL)) $(CARGO) test --locked --test fleetctl_real -- --ignored --nocapture

# One file without a dynamic linker, the same wherever it is built. Fails if the result is not static.
static:
	integration/static.sh $(STATIC_TARGET)

# Debian packages of it, in target/debian.
deb: static
	packaging/deb.sh target/$(STATIC_TARGET)/release/node target/debian

# A container image of it and nothing else, corenode:VERSION. Needs a Docker engine, and says so where there is none.
image: static
	packaging/image.sh target/$(STATIC_TARGET)/release/node

# Figures for people, never a test: three members of etcd and three of ours under the same load in turns, and the ratios.
# `make bench ETCD=path` names another etcd than Debian's. About twenty minutes, half of them the build.
bench:
	$(CARGO) build --release --locked --bin node --example bench
	target/release/examples/bench target/release/node $(if $(ETCD),--etcd $(ETCD))

# The scheduler alone over 10,000 units on 1,000 simulated machines, then three real hosts with 200 units, beside fleet's figures.
# Needs root, as `make integration`; five minutes and the build.
bench-fleet:
	$(CARGO) build --release --locked --bin node --example bench_fleet
	target/release/examples/bench_fleet target/release/node

# Figures for people: how fast templates follow their keys, and the engine beside Go's own (Debian's golang-go).
bench-template:
	$(CARGO) build --release --locked --bin node --example bench_template
	target/release/examples/bench_template target/release/node

# Fifty containers of an image that is here, started by the node and by `docker run` in a loop. Needs root, as `make integration`.
bench-containers:
	$(CARGO) test --release --locked --test containers -- --ignored --nocapture fifty_starts

# The wire types' code anew from the .proto files, after a change of those.
generate:
	CORENODE_GENERATE=1 $(CARGO) test --locked --test wire

fix:
	$(CARGO) fmt
