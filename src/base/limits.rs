//! A limit on everything, in one place. Names end in their unit.

/// Largest client request, as etcd's `--max-request-bytes`.
pub const REQUEST_BYTES_MAX: usize = 1_572_864;
/// Operations in one transaction, as etcd's `--max-txn-ops`.
pub const TXN_OPS_MAX: usize = 128;
/// Shortest lease; etcd's is one and a half election timeouts, rounded up.
pub const LEASE_TTL_SECONDS_MIN: i64 = 2;
/// Longest lease, as etcd's.
pub const LEASE_TTL_SECONDS_MAX: i64 = 9_000_000_000;
/// Commands that one Raft entry may carry.
pub const BATCH_COMMANDS_MAX: usize = 4_096;
/// Bytes of commands that one Raft entry may carry before it is closed.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// Commands that may wait for the batcher before writers are told to come back later.
pub const PROPOSALS_PENDING_MAX: usize = 65_536;
/// How long a write or a linearizable read may wait for a quorum.
pub const QUORUM_WAIT_MS_MAX: u64 = 4_000;
/// Unit text, as stored.
pub const UNIT_BYTES_MAX: usize = 512 * 1024;
/// One physical line of a unit file, as go-systemd's parser has it.
pub const UNIT_LINE_BYTES_MAX: usize = 2_048;
/// A unit's name.
pub const UNIT_NAME_BYTES_MAX: usize = 256;
/// Events that a slow watcher may have waiting before it is cut off and told where to resume.
pub const WATCH_BACKLOG_EVENTS_MAX: usize = 16_384;
/// Keys and values of those events; one batch may be larger.
pub const WATCH_BACKLOG_BYTES_MAX: usize = 8 << 20;
/// Events that may wait for all watchers of a node together before those that are behind by more than a batch are cut off;
/// each costs about 300 bytes beside its key and value, which watchers share.
pub const WATCH_BACKLOGS_EVENTS_MAX: usize = 1 << 19;
/// One frame between peers.
pub const PEER_FRAME_BYTES_MAX: usize = 64 << 20;
/// Pause before a job that failed runs again: the first, and the longest that doubling leads to.
pub const JOB_BACKOFF_MS_MIN: u64 = 100;
pub const JOB_BACKOFF_MS_MAX: u64 = 10_000;
/// Size of one segment of the Raft log, zero-filled ahead.
pub const WAL_SEGMENT_BYTES: u64 = 64 << 20;
/// Largest segment that may be configured: offsets inside a segment are 32 bits wide.
pub const WAL_SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Payload of one entry in the Raft log.
pub const WAL_ENTRY_BYTES_MAX: usize = 64 << 20;
/// Payload of a vote or a mark in the Raft log.
pub const WAL_MARK_BYTES_MAX: usize = 64 << 10;
/// What the Raft log's writer puts into one write and one sync before it takes more from its queue.
pub const WAL_BATCH_BYTES_MAX: usize = 8 << 20;
/// What may wait for the Raft log's writer before those who append are made to wait too.
pub const WAL_QUEUE_BYTES_MAX: usize = 256 << 20;
/// The cluster's and node's identity in the header of a segment.
pub const WAL_IDENTITY_BYTES_MAX: usize = 1_024;
/// A sync of the Raft log that takes longer than this is worth a warning.
pub const WAL_SLOW_SYNC_MS: u64 = 1_000;
/// Longest key that the v2 view shows, and longest path that a v2 write may name.
pub const V2_PATH_BYTES_MAX: usize = 4_096;
/// Deepest path of the v2 view, in components.
pub const V2_PATH_COMPONENTS_MAX: usize = 128;
/// One file of a unit's journal; the one before it is kept too.
pub const JOURNAL_FILE_BYTES_MAX: u64 = 8 << 20;
/// What is read of a journal in one go.
pub const JOURNAL_CHUNK_BYTES_MAX: usize = 256 << 10;
/// One line of a unit's output; a longer one is cut into several.
pub const JOURNAL_LINE_BYTES_MAX: usize = 48 << 10;
/// One message between an executor and a shim.
pub const SHIM_MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Executors that may be connected to a shim at once.
pub const SHIM_CONNECTIONS_MAX: usize = 16;
/// How long a shim waits for its first order before it ends again.
pub const SHIM_IDLE_MS_MAX: u64 = 10_000;
/// How long a shim may take to come up or to answer an order.
pub const SHIM_ANSWER_MS_MAX: u64 = 5_000;
/// How long a shim that ends waits for what is still to be read or written.
pub const SHIM_FAREWELL_MS_MAX: u64 = 1_000;
/// How long a shim waits for the one before it to end.
pub const SHIM_LOCK_WAIT_MS_MAX: u64 = 10_000;
/// Attempts to reach or start the shim of a unit.
pub const SHIM_ATTEMPTS_MAX: usize = 5;
/// Client connections that one listener holds open; more wait in the kernel's queue.
pub const CLIENT_CONNECTIONS_MAX: usize = 16_384;
/// Websockets that are open at once; they are no more counted among client connections.
pub const WEBSOCKETS_MAX: usize = 1_024;
/// A client connection's first bytes arrive within this time.
pub const FIRST_BYTES_WAIT_MS_MAX: u64 = 10_000;
/// The headers of each HTTP/1.1 request arrive within this time after the answer before.
pub const HEADER_WAIT_MS_MAX: u64 = 60_000;
/// All headers of one request.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
/// A request's body, or a message of a stream, arrives within this time, and without a longer silence.
pub const BODY_WAIT_MS_MAX: u64 = 60_000;
pub const BODY_SILENT_MS_MAX: u64 = 10_000;
/// Bytes of all requests of a node that do not arrive in one piece, from their arrival to their answers.
pub const BODIES_BYTES_MAX: usize = 64 << 20;
/// The beginning of a request has a budget of its own, so that small requests pass while large ones wait.
pub const BODY_BEGINNING_BYTES: usize = 16 << 10;
pub const BODY_BEGINNINGS_BYTES_MAX: usize = 64 << 20;
/// How long a request waits in all for room among them before it is refused.
pub const BODY_ROOM_WAIT_MS_MAX: u64 = 5_000;
/// An answer of more bytes is handed to its connection in pieces.
pub const ANSWER_LARGE_BYTES: usize = 256 << 10;
pub const ANSWER_PIECE_BYTES: usize = 128 << 10;
/// A client takes something of a large answer, and of what its connection is sent, within this time.
pub const ANSWER_UNREAD_MS_MAX: u64 = 60_000;
/// Bytes of large answers that wait for their clients; while there are more, a client takes something within the
/// second time.
pub const ANSWERS_UNREAD_BYTES_MAX: usize = 256 << 20;
pub const ANSWER_CROWDED_MS_MAX: u64 = 1_000;
/// Requests and streams at once on one HTTP/2 connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 16_384;
/// What an HTTP/2 client may send ahead of the reader: of one request, and of all on its connection.
pub const STREAM_WINDOW_BYTES: u32 = 128 << 10;
pub const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// After this silence a client is probed, and after as much again without an answer its connection is closed.
pub const CLIENT_SILENT_SECONDS_MAX: u64 = 30;
/// How long requests under way may take to end when the doors close.
pub const DOORS_CLOSE_MS_MAX: u64 = 5_000;
/// One gRPC message: the largest request and what wraps it.
pub const GRPC_MESSAGE_BYTES_MAX: usize = REQUEST_BYTES_MAX + 512 * 1024;
/// Watches on one stream.
pub const WATCHES_PER_STREAM_MAX: usize = 65_536;
/// Responses that a watch stream may have waiting for its client before its watches stop reading, and their bytes; a larger one
/// goes alone.
pub const WATCH_RESPONSES_QUEUED_MAX: usize = 128;
pub const WATCH_RESPONSES_QUEUED_BYTES_MAX: usize = 4 << 20;
/// The shortest time after which a watch that asked for it may be told how far it is when nothing happens.
pub const WATCH_PROGRESS_MS_MIN: u64 = 100;
/// How long a progress request waits for watches that are catching up.
pub const WATCH_PROGRESS_WAIT_MS_MAX: u64 = 2_000;
/// A stream that requires a leader is ended after this long without one.
pub const LEADERLESS_STREAM_MS_MAX: u64 = 3_000;
/// Members of a cluster, learners included.
pub const MEMBERS_MAX: usize = 64;
/// Members that only follow, as etcd's default.
pub const LEARNERS_MAX: usize = 1;
/// The first frames between peers, before they know each other.
pub const PEER_HANDSHAKE_BYTES_MAX: usize = 1_024;
/// What one who wants to join is told of the members.
pub const PEER_ROSTER_BYTES_MAX: usize = 1 << 20;
/// How long peers may take to know each other.
pub const PEER_HANDSHAKE_MS_MAX: u64 = 2_000;
/// How long a connection to a peer may take to come about.
pub const PEER_CONNECT_MS_MAX: u64 = 1_000;
/// A peer of which nothing was heard for so long counts as missing.
pub const PEER_SILENT_MS: u64 = 1_500;
/// How often a peer is asked for a sign of life where nothing else passes.
pub const PEER_PING_MS: u64 = 500;
/// How long a connection to a peer whose place another one has taken may go on answering.
pub const PEER_RETIRE_MS_MAX: u64 = 30_000;
/// Pauses between attempts to reach a peer: the first, and the longest.
pub const PEER_BACKOFF_MS_MIN: u64 = 50;
pub const PEER_BACKOFF_MS_MAX: u64 = 1_000;
/// Connections of peers that are held at once, and of others that have not said yet who they are.
pub const PEER_CONNECTIONS_MAX: usize = 256;
pub const PEER_HANDSHAKES_MAX: usize = 256;
/// The log tells of connections to the peer port that are refused for one cause no more often than this.
pub const PEER_STRANGERS_LOG_MS: u64 = 1_000;
/// Requests of one peer connection that are worked on at once.
pub const PEER_REQUESTS_MAX: usize = 256;
/// Streams that one peer connection may have open.
pub const PEER_STREAMS_MAX: usize = 256;
/// Pieces of a stream between peers that may be under way before the receiver takes one.
pub const PEER_STREAM_WINDOW_CHUNKS: usize = 8;
/// Log entries in one message to a peer, in bytes; a larger entry goes alone.
pub const PEER_APPEND_BYTES_MAX: usize = 4 << 20;
/// One piece of a snapshot between peers.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;
/// Raft entries, and forwarded batches, that may be under way at once while further commands gather in the next.
pub const BATCHES_IN_FLIGHT_MAX: usize = 2;
/// Commands that are enough for a further entry while another one is under way; fewer wait for its end.
pub const BATCH_AHEAD_COMMANDS: usize = 256;
/// Leases that one command ends.
pub const LEASE_EXPIRE_BATCH_MAX: usize = 1_000;
/// Readers that may wait for a round of read index before further ones are told to come back later.
pub const READERS_PENDING_MAX: usize = 65_536;
/// Bytes of log entries kept in memory for followers that are nearly up to date.
pub const LOG_CACHE_BYTES_MAX: usize = 32 << 20;
/// Memory that the state file's cache may take.
pub const STATE_CACHE_BYTES_MAX: usize = 128 << 20;
/// Size of a snapshot's chunks, unless one entry is larger.
pub const STATE_EXPORT_CHUNK_BYTES: usize = 256 << 10;
/// Largest chunk of a snapshot that is read.
pub const STATE_EXPORT_CHUNK_BYTES_MAX: usize = 64 << 20;
/// Machines for which a plan says why they cannot take a waiting unit; `explain` says it of all.
pub const PLAN_REASONS_PER_UNIT_MAX: usize = 100;
/// A request for a discovery token: its form, which is a number.
pub const DISCOVERY_FORM_BYTES_MAX: usize = 4096;
/// What is registered with a discovery token, as one answer.
pub const DISCOVERY_ANSWER_BYTES_MAX: usize = 4 << 20;
/// How long a discovery service may take for an answer.
pub const DISCOVERY_REQUEST_MS_MAX: u64 = 5_000;
/// How long a member waits for the next one to register before it looks itself.
pub const DISCOVERY_WATCH_MS_MAX: u64 = 30_000;
/// Pauses between two questions to a discovery service that does not answer.
pub const DISCOVERY_RETRY_MS_MIN: u64 = 250;
pub const DISCOVERY_RETRY_MS_MAX: u64 = 8_000;
/// Pauses between moves of a unit that fails wherever it is put: the first, and the longest that doubling leads to.
pub const RESCHEDULE_MS_MIN: i64 = 10_000;
pub const RESCHEDULE_MS_MAX: i64 = 600_000;
/// A unit that has not failed for so long after it was moved is moved as if for the first time.
pub const RESCHEDULE_FORGET_MS: i64 = 3_600_000;
/// Units that one request may bring on their way to better machines.
pub const MOVES_AT_ONCE_MAX: usize = 100;
/// Machines that a simulation may add.
pub const SIMULATED_MACHINES_MAX: usize = 1_000;
/// How long a v2 watch of the past may look for its history before its headers go out.
pub const V2_HISTORY_WAIT_MS_MAX: u64 = 1_000;
/// Waiting events, and their bytes, that a watcher is handed at once; a larger transaction is not taken apart. Many clients
/// refuse messages above 4 MiB.
pub const WATCH_BATCH_EVENTS: usize = 256;
pub const WATCH_BATCH_BYTES: usize = 1 << 20;
/// Events, their bytes, and changes looked at, that a watch of the past reads of history in one piece.
pub const WATCH_HISTORY_EVENTS: usize = 1_000;
pub const WATCH_HISTORY_BYTES: usize = 1 << 20;
pub const WATCH_HISTORY_CHANGES: usize = 10_000;
/// The state is made durable so long after a change, or when changes take so many bytes of memory.
pub const STATE_FLUSH_MS: u64 = 5_000;
pub const STATE_FLUSH_BYTES: usize = 32 << 20;
/// Bytes of memory that changes may take on top of those that are being made durable; further ones wait, so long at most.
pub const STATE_MEMORY_BYTES_MAX: usize = 64 << 20;
pub const STATE_FLUSH_WAIT_MS: u64 = 60_000;
/// How long a member may take to install a snapshot that it has received.
pub const SNAPSHOT_INSTALL_MS_MAX: u64 = 120_000;
/// A unit's name where it is a directory's: the file system's limit less what is put before or after it.
pub const UNIT_DIR_NAME_BYTES_MAX: usize = 250;
/// Wishes that may wait for the keeper of one unit.
pub const UNIT_WISHES_MAX: usize = 64;
/// How long another machine may take to begin to answer a question about its units.
pub const INSPECT_MS_MAX: u64 = 10_000;
/// Pause of the agent after a task of the executor's or a write of states failed.
pub const AGENT_RETRY_MS: u64 = 1_000;
/// Items on one page of a list of fleet's API, as fleetd's `token_limit`.
pub const FLEET_PAGE_ITEMS: u16 = 100;
/// Times that a change of a unit is built anew because somebody else was quicker.
pub const FLEET_WRITE_ATTEMPTS_MAX: usize = 16;
/// How long a request may wait for this node's view of the cluster to come as far as the store; then it reads the store.
pub const FLEET_VIEW_WAIT_MS_MAX: u64 = 1_000;
/// How long after fleet's own `fleetctl` asked for a unit's stop its next look at it counts as its first.
pub const FLEETCTL_LOOK_MS_MAX: i64 = 2000;
/// Batches of changes that a reader of the watch may have waiting before its stream ends.
pub const FLEET_FEED_BATCHES_MAX: usize = 4_096;
/// One operation in the log, whoever asked for it.
pub const OP_BYTES_MAX: usize = 8 << 20;
/// How long one call of systemd over D-Bus may take; it answers nobody while it reloads its configuration.
pub const SYSTEMD_CALL_MS_MAX: u64 = 25_000;
/// How long a connection to the system bus may take to come about.
pub const SYSTEMD_CONNECT_MS_MAX: u64 = 5_000;
/// How long a call waits for a systemd that is away, as while its bus restarts, before it fails.
pub const SYSTEMD_AWAY_MS_MAX: u64 = 5_000;
/// Pauses between attempts to reach systemd: the first, and the longest.
pub const SYSTEMD_BACKOFF_MS_MIN: u64 = 50;
pub const SYSTEMD_BACKOFF_MS_MAX: u64 = 5_000;
/// Messages of the bus that may wait for the watcher before reading from the socket pauses.
pub const SYSTEMD_QUEUE_MESSAGES_MAX: usize = 4_096;
/// Calls of systemd that may be unanswered at once; the bus allows a connection 128 by default.
pub const SYSTEMD_CALLS_MAX: usize = 64;
/// Units of one load that are looked at at once for what systemd makes of them.
pub const SYSTEMD_LOOKS_MAX: usize = 16;
/// How long a unit is given to stop besides what its own time-outs allow, and whatever they allow.
pub const SYSTEMD_STOP_MARGIN_MS: u64 = 10_000;
pub const SYSTEMD_STOP_MS_MAX: u64 = 3_600_000;
/// How long `systemctl status` may take.
pub const SYSTEMCTL_MS_MAX: u64 = 10_000;
/// What is kept of the output of `systemctl status`, or of what `journalctl` complains about.
pub const SYSTEMCTL_OUTPUT_BYTES_MAX: usize = 1 << 20;
/// How long a `check_cmd` may take before it and all it started are killed.
pub const CHECK_COMMAND_MS_MAX: u64 = 30_000;
/// How long a `reload_cmd` may take before it and all it started are killed.
pub const RELOAD_COMMAND_MS_MAX: u64 = 60_000;
/// Largest template and largest resource file.
pub const TEMPLATE_BYTES_MAX: u64 = 16 << 20;
/// Files of resources below one `conf.d`.
pub const RESOURCE_FILES_MAX: usize = 10_000;
/// Templates that are rendered at the same time.
pub const RENDERS_AT_ONCE_MAX: usize = 4;
/// How long a template may wait for the answer to one question to a name server.
pub const TEMPLATE_LOOKUP_MS_MAX: u64 = 5_000;
/// A burst of changes is over after this silence, or when it has lasted this long: one render answers all of it.
pub const TEMPLATE_BURST_QUIET_MS: u64 = 2;
pub const TEMPLATE_BURST_MS_MAX: u64 = 50;
/// Pauses before a check or reload that failed is tried again: the first, and the longest that doubling leads to.
pub const TEMPLATE_RETRY_MS_MIN: u64 = 500;
pub const TEMPLATE_RETRY_MS_MAX: u64 = 60_000;
/// Keys in one read of the store for templates.
pub const TEMPLATE_READ_KEYS_MAX: i64 = 2_000;
/// Batches of changes that may wait while templates are being handed out.
pub const TEMPLATE_BATCHES_QUEUED_MAX: usize = 64;
/// How often another store's endpoint is asked for a sign of life while calls are under way; etcd allows no less than 5.
pub const REMOTE_PING_SECONDS: u64 = 10;
/// How long it may take to give one.
pub const REMOTE_SILENT_SECONDS_MAX: u64 = 5;
/// One message from another store: its clients' largest transactions' worth of values.
pub const REMOTE_MESSAGE_BYTES_MAX: usize = 512 << 20;
/// Copies of the state that clients may be reading from one node at a time; each is a file until it is read.
pub const CLIENT_SNAPSHOTS_MAX: usize = 2;
/// Time to live of the lease that a lock or a campaign gets where the client names none, as etcd's; nobody renews it.
pub const QUEUE_LEASE_SECONDS: i64 = 60;
/// Leaders of an election that an observer may have waiting before observing pauses.
pub const OBSERVED_QUEUED_MAX: usize = 16;
/// Bytes of one run of pages in a bbolt file, which holds one value at most: larger than any that etcd takes.
pub const BOLT_PAGE_RUN_BYTES_MAX: u64 = 256 << 20;
/// Levels of pages in a bbolt file; a thousand million keys need six.
pub const BOLT_DEPTH_MAX: usize = 24;
/// Bytes of a foreign history that are gathered in memory before they go into the state file.
pub const STATE_LOAD_BYTES: usize = 16 << 20;
/// Bytes of another etcd's v2 tree as JSON, which comes in one piece.
pub const IMPORT_TREE_BYTES_MAX: usize = 1 << 30;
/// Passwords that are hashed or compared at the same time; each takes a core for tens of milliseconds.
pub const PASSWORDS_AT_ONCE_MAX: usize = 2;
/// How long one waits for its turn.
pub const PASSWORD_WAIT_MS_MAX: u64 = 5_000;
/// Names with passwords that a node remembers to have fitted.
pub const PASSWORDS_REMEMBERED_MAX: usize = 10_000;
/// Tokens whose last use a node remembers; one beyond lasts from when it was issued.
pub const TOKENS_REMEMBERED_MAX: usize = 100_000;
/// Longest text that is looked at as a token.
pub const TOKEN_BYTES_MAX: usize = 4_096;
/// Keys that one page of the past may look at, whether they are told or not.
pub const PAST_KEYS_SEEN_MAX: usize = 100_000;
/// Items on a page of the past, and bytes of their keys and values.
pub const PAST_PAGE_ITEMS: usize = 1_000;
pub const PAST_PAGE_BYTES: usize = 4 << 20;

/// Operations of one of fleet's own transactions: a store that is shared with others adds one.
pub const FLEET_TXN_OPS_MAX: usize = TXN_OPS_MAX - 1;
/// Units that one apply changes at most, and bytes of their texts, those that are alike counted once.
pub const ROLLOUT_UNITS_MAX: usize = 2_000;
pub const ROLLOUT_BYTES_MAX: usize = 1 << 20;
/// How long an apply may be told to wait for a batch, or for a unit to settle.
pub const ROLLOUT_WAIT_MS_MAX: u64 = 86_400_000;
/// Applies that are kept, to be told and taken back.
pub const APPLIES_KEPT_MAX: u64 = 50;
/// How long one check of a unit's health may take, and the pause before the next.
pub const HEALTH_CHECK_MS_MAX: u64 = 10_000;
pub const HEALTH_PAUSE_MS: u64 = 1_000;
/// What is kept of a failed check's words.
pub const HEALTH_WORDS_BYTES_MAX: usize = 512;

/// How often the remaining time of a lease that has longer than this is noted in the log, so that a new leader knows it.
pub const LEASE_CHECKPOINT_SECONDS: u64 = 300;
/// Samples of when revisions were taken: how many a span of history has about, and what is at least between two of them.
pub const TIMELINE_SAMPLES: u64 = 256;
pub const TIMELINE_SAMPLE_MS_MIN: i64 = 1_000;
pub const TIMELINE_SAMPLE_BYTES_MIN: u64 = 4 << 20;
/// How often the leader looks whether history has become too old or too large.
pub const HISTORY_LOOK_MS: u64 = 5_000;
/// Between two compactions for age or number; those for size come when they must.
pub const HISTORY_PAUSE_MS_MIN: u64 = 1_000;
pub const HISTORY_PAUSE_MS_MAX: u64 = 3_600_000;
/// History of the system space: whoever follows it starts anew where it has fallen behind further.
pub const SYSTEM_HISTORY_KEEP_MS: i64 = 600_000;
pub const SYSTEM_HISTORY_BYTES_MAX: u64 = 64 << 20;
/// Changes that one step of compaction looks at: at first, and at most. Steps are made to take about as long as is said.
pub const COMPACT_STEP_CHANGES: usize = 256;
pub const COMPACT_STEP_CHANGES_MAX: usize = 10_000;
pub const COMPACT_STEP_MICROS: u64 = 2_000;
/// How often a node looks how full its disk is.
pub const DISK_LOOK_MS: u64 = 1_000;
/// A full disk's alarm ends when its member has not answered for this long; it raises it again when it is back.
pub const DISK_ALARM_SILENT_MS: u64 = 10_000;
/// Body of a request that changes users or roles over the v2 API.
pub const AUTH_BODY_BYTES_MAX: usize = 1 << 20;
/// Pause between two writes of what a machine tells of its templates.
pub const TEMPLATE_STATUS_PAUSE_MS: u64 = 500;
/// Lease of a machine's place in the queue for its turn at a resource.
pub const TEMPLATE_TURN_LEASE_MS: i64 = 10_000;
/// How long a machine waits for its turn at a resource before that is an error; then it queues again.
pub const TEMPLATE_TURN_WAIT_MS_MAX: u64 = 600_000;
/// How long a machine whose reload failed keeps its turn, so that the others do not follow, while it tries again.
pub const TEMPLATE_TURN_KEPT_MS_MAX: u64 = 60_000;
/// A user-data, and each of its files unpacked.
pub const CLOUD_CONFIG_BYTES_MAX: usize = 16 << 20;
/// Values of a cloud-config, aliases counted as what they stand for; and how deep they may be nested.
pub const CLOUD_CONFIG_NODES_MAX: usize = 100_000;
pub const CLOUD_CONFIG_DEPTH_MAX: usize = 32;
/// How long one command of a cloud-config may take, a unit's start included, before it is ended.
pub const CLOUD_CONFIG_COMMAND_MS_MAX: u64 = 300_000;
/// What is sent to an S3-compatible store at a time, and how many of these one backup may be; five MiB and 10,000 are the stores' own limits.
pub const BACKUP_PART_BYTES: u64 = 16 << 20;
pub const BACKUP_PARTS_MAX: u64 = 10_000;
/// How long one request to such a store may take.
pub const BACKUP_REQUEST_MS_MAX: u64 = 300_000;
/// Life of a cluster's own authority, and of the certificates that it gives to members, which renew them at two thirds of it.
pub const CA_LIFE_DAYS: u32 = 3_650;
pub const MEMBER_CERTIFICATE_DAYS: u32 = 30;
/// Certificates count from so long before they are made, for machines whose clocks are behind.
pub const CERTIFICATE_BACKDATED_DAYS: u32 = 1;
/// How often a member looks whether its certificate is to be renewed.
pub const CERTIFICATE_LOOK_SECONDS: u64 = 3_600;
/// How soon it looks again at the soonest.
pub const CERTIFICATE_LOOK_MS_MIN: u64 = 1_000;
/// Text of a token to join with.
pub const JOIN_TOKEN_BYTES_MAX: usize = 4_096;
/// How long the cluster knows a token that has expired, so that whoever comes with it hears why it is refused.
pub const JOIN_TOKEN_REMEMBERED_MS: i64 = 7 * 86_400_000;
/// Tokens that a cluster keeps, and the machines that one lets in.
pub const JOIN_TOKENS_MAX: usize = 1_000;
pub const JOIN_TOKEN_USES_MAX: u32 = 1_000;
/// Body of a request to join, or for a certificate.
pub const JOIN_BODY_BYTES_MAX: usize = 64 * 1_024;
/// How often a token is looked at again that changed while it was spent.
pub const JOIN_SPEND_ATTEMPTS_MAX: usize = 8;
/// Certificates that the cluster keeps a record of; what has ended goes first.
pub const CERTIFICATES_MAX: usize = 10_000;
/// Certificates that are good which one name may have.
pub const CERTIFICATES_OF_ONE_NAME_MAX: usize = 200;
/// How long a former authority stays trusted at most.
pub const AUTHORITY_KEPT_MS_MAX: i64 = 90 * 86_400_000;
/// How long a request to be told of changes of the authority may wait for one.
pub const AUTHORITY_CHANGE_WAIT_MS: u64 = 5_000;
/// How long a member may take to hand over the key of a new authority.
pub const AUTHORITY_KEY_MS_MAX: u64 = 5_000;
/// How long a client's certificate lasts at most.
pub const CLIENT_CERTIFICATE_DAYS_MAX: u32 = 365;
/// A unit with `Exclusive=true` whose machine's lease has run out has so long to stop; what is left of it is killed.
pub const FENCE_STOP_MS: u64 = 10_000;
/// How much later than that its machine may be at most: clocks that run apart, a machine with much to do, a guard that is
/// started again.
pub const FENCE_MARGIN_MS: u64 = 5_000;
/// How often whoever watches over an exclusive unit looks at the machine's clock, which a suspended machine's timers lag behind.
pub const FENCE_LOOK_MS: u64 = 1_000;
/// Told of more time so shortly before its end, a unit may be stopped nevertheless.
pub const FENCE_NEARLY_MS: u64 = 1_000;
/// Pause between two kills of what is left of it.
pub const FENCE_KILL_AGAIN_MS: u64 = 200;
/// How long a container engine may take to answer a call.
pub const CONTAINER_CALL_MS_MAX: u64 = 60_000;
/// How long the start of a node waits for the container engine before it goes on without.
pub const CONTAINER_ADOPT_MS_MAX: u64 = 5_000;
/// Shortest and longest pause between two attempts to reach a container engine that is away.
pub const CONTAINER_LINK_PAUSE_MS: (u64, u64) = (100, 5_000);
/// Shortest and longest pause after an image could not be had.
pub const IMAGE_PAUSE_MS: (u64, u64) = (1_000, 60_000);
/// A container that has lived for so long has come up: the next pause before a restart is the shortest again.
pub const CONTAINER_SETTLED_MS: u64 = 10_000;
/// How long a killed container may take to be gone.
pub const CONTAINER_KILL_MS_MAX: u64 = 30_000;
/// A secret of containers, as Docker's.
pub const SECRET_BYTES_MAX: usize = 500 << 10;
/// Secrets that a cluster keeps.
pub const SECRETS_MAX: usize = 10_000;
/// A message by which a unit tells that it is ready, as systemd bounds it.
pub const NOTIFY_MESSAGE_BYTES_MAX: usize = 4_096;
/// Lines of its own that an executor keeps of a container, beside what the engine keeps.
pub const CONTAINER_NOTES_MAX: usize = 200;
/// Commands and shells of people that one node runs, or passes on to other nodes, at once.
pub const SESSIONS_MAX: usize = 64;
/// What such a command has said, and what was said to it, that may wait to be taken; and the bytes of one such piece.
pub const SESSION_PIECES_MAX: usize = 16;
pub const SESSION_PIECE_BYTES_MAX: usize = 32 * 1_024;
/// Program and arguments of such a command.
pub const SESSION_COMMAND_BYTES_MAX: usize = 256 * 1_024;
/// How long a client may take to say what is to be run.
pub const SESSION_OPENING_MS_MAX: u64 = 10_000;
/// How often a client that says nothing is looked for.
pub const SESSION_PING_MS: u64 = 15_000;
/// How long a command may take to end once its client has gone; then it is killed.
pub const SESSION_HANG_UP_MS: u64 = 5_000;
/// A program that a node is upgraded to, and a piece of it on its way there.
pub const PROGRAM_BYTES_MAX: u64 = 1 << 30;
pub const PROGRAM_PIECE_BYTES_MAX: usize = 1 << 20;
/// How long such a program may take to tell its version on the machine that is to run it.
pub const PROGRAM_ANSWER_MS_MAX: u64 = 30_000;
/// How long a node may take to serve with another program, before the former one is put back; and the longest that may be asked for.
pub const PROGRAM_TRIAL_MS: u64 = 120_000;
pub const PROGRAM_TRIAL_MS_MAX: u64 = 3_600_000;
