//! A master, a replica, and three sentinels that watch them.

use std::collections::HashMap;

use redis::{Client, RedisResult};

use super::certificates::Certificates;
use super::process::{Process, ask, local, on_port, until};
use super::server::{PortServer, RedisServer};
use crate::queue::RedisConfig;

/// The name under which the sentinels know the master.
const SERVICE: &str = "mymaster";
/// After this long without an answer a sentinel holds a server for dead. Less would make a busy
/// machine fail over by itself.
const DOWN_AFTER_MS: u32 = 2000;
/// For so long a sentinel does nothing after the machine did not let it run for two seconds; 30 s
/// by itself, and again with each such stall.
const TILT_MS: u32 = 3000;

/// Two servers and three sentinels.
pub struct SentinelSet {
    servers: [PortServer; 2],
    sentinels: Vec<(Process, u16)>,
    /// Empty if they want none.
    password: String,
    tls: bool,
}

impl SentinelSet {
    /// Starts them, and waits until all know of each other.
    #[must_use]
    pub fn start(append_only: bool) -> Self {
        Self::start_with(append_only, "", None)
    }

    /// Like [`Self::start`], with a password that the sentinels themselves want, unless it is empty, and
    /// with TLS between all of them, and for clients.
    ///
    /// # Panics
    /// If they do not start.
    #[must_use]
    pub fn start_with(append_only: bool, password: &str, tls: Option<&Certificates>) -> Self {
        let mut settings = vec![
            "--repl-diskless-sync-delay",
            "0",
            "--repl-ping-replica-period",
            "1",
        ];
        if tls.is_some() {
            settings.extend(["--tls-replication", "yes"]);
        }
        let master = PortServer::start(append_only, &settings, tls);
        let replica = PortServer::start(append_only, &settings, tls);
        let mut command = redis::cmd("REPLICAOF");
        command.arg("127.0.0.1").arg(master.told_port());
        let () = replica.ask(&command).expect("it becomes a replica");
        let set = [master, replica];
        until("the replica is in step", || has_replica(&set[0]));
        let master = set[0].told_port();
        let sentinels = (0..3).map(|_| sentinel(master, password, tls)).collect();
        let set = Self {
            servers: set,
            sentinels,
            password: password.to_owned(),
            tls: tls.is_some(),
        };
        until("the sentinels know the replica and each other", || {
            set.views().iter().all(|view| {
                let is = |field: &str, value: &str| view.get(field).is_some_and(|v| v == value);
                is("num-slaves", "1") && is("num-other-sentinels", "2") && is("flags", "master")
            })
        });
        let mut command = redis::cmd("SENTINEL");
        command.arg("DEBUG").arg("tilt-period").arg(TILT_MS);
        for (_, port) in &set.sentinels {
            let () = ask(&client(*port, &set.password), &command).expect("it knows the setting");
        }
        set
    }

    /// What each sentinel says of the master; of one that is silent, nothing.
    fn views(&self) -> Vec<HashMap<String, String>> {
        let mut command = redis::cmd("SENTINEL");
        command.arg("master").arg(SERVICE);
        let view = |port: u16| ask(&client(port, &self.password), &command).unwrap_or_default();
        self.sentinels.iter().map(|(_, port)| view(*port)).collect()
    }

    /// The URL of the set, without the sentinels' password.
    #[must_use]
    pub fn url(&self) -> String {
        let (scheme, more) = if self.tls {
            ("rediss", 1)
        } else {
            ("redis", 0)
        };
        let hosts = self.sentinels.iter();
        let hosts: Vec<_> = hosts
            .map(|(_, port)| format!("127.0.0.1:{}", port + more))
            .collect();
        format!("{scheme}+sentinel://{}/{SERVICE}", hosts.join(","))
    }

    /// Settings for a queue of its own (`prefix`).
    #[must_use]
    pub fn config(&self, prefix: &str) -> RedisConfig {
        RedisConfig {
            prefix: prefix.to_owned(),
            sentinel_password: Some(self.password.clone()).filter(|word| !word.is_empty()),
            ..RedisConfig::new(self.url())
        }
    }

    /// The port of the master, as the first sentinel that answers has it.
    #[must_use]
    pub fn master_port(&self) -> u16 {
        let ports = self
            .views()
            .into_iter()
            .filter_map(|view| view.get("port")?.parse().ok());
        ports.into_iter().next().unwrap_or_default()
    }

    fn server(&self, is_master: bool) -> &PortServer {
        let master = self.master_port();
        if is_master {
            self.at(master)
        } else {
            self.other(master)
        }
    }

    fn at(&self, port: u16) -> &PortServer {
        let mut servers = self.servers.iter();
        let server = servers.find(|server| server.told_port() == port);
        server.expect("one of the two")
    }

    fn other(&self, port: u16) -> &PortServer {
        let mut servers = self.servers.iter();
        let server = servers.find(|server| server.told_port() != port);
        server.expect("one of the two")
    }

    /// Whether the server at the port that is the master, or at the other one, calls itself a master,
    /// and whether it has a key.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn has_key(&self, is_master: bool, key: &str) -> (bool, bool) {
        let server = self.server(is_master);
        let info: String = server
            .ask(redis::cmd("INFO").arg("replication"))
            .expect("it answers");
        let found: bool = server
            .ask(redis::cmd("EXISTS").arg(key))
            .expect("it answers");
        (info.contains("role:master"), found)
    }

    /// Stops the master where it is, and the replica goes on without it.
    pub fn freeze_master(&self) {
        self.server(true).process.freeze();
    }

    /// Stops the replica where it is.
    pub fn freeze_replica(&self) {
        self.server(false).process.freeze();
    }

    /// Cuts the replica off and stops it: from now on only the master has what is written. Returns the
    /// master's port, for what is done next: the sentinels may change their mind meanwhile.
    ///
    /// # Panics
    /// If the master does not answer.
    #[must_use]
    pub fn strand_replica(&self) -> u16 {
        let master = self.master_port();
        self.other(master).process.freeze();
        let mut command = redis::cmd("CLIENT");
        command.arg("KILL").arg("TYPE").arg("replica");
        let _: redis::Value = self.at(master).ask(&command).expect("it answers");
        master
    }

    /// Stops the server at `port` where it is.
    pub fn freeze_at(&self, port: u16) {
        self.at(port).process.freeze();
    }

    /// Kills the server at `port`, with what only it has, until [`Self::revive`].
    pub fn kill_at(&mut self, port: u16) {
        let mut servers = self.servers.iter_mut();
        let server = servers.find(|server| server.told_port() == port);
        server.expect("one of the two").process.kill();
    }

    /// Lets the server go on that is not at `port`.
    pub fn thaw_other(&self, port: u16) {
        self.other(port).process.thaw();
    }

    /// Lets all go on.
    pub fn thaw(&self) {
        for server in &self.servers {
            server.process.thaw();
        }
    }

    /// Kills the master for good, with what only it has.
    pub fn kill_master(&mut self) {
        self.kill_at(self.master_port());
    }

    /// A server of its own with what the server at `port` has on disk, while that one is killed or
    /// stopped.
    #[must_use]
    pub fn copy_of(&self, port: u16) -> RedisServer {
        RedisServer::start_on_copy(self.at(port).process.folder())
    }

    /// Starts the server at `port` again after [`Self::kill_at`]: it becomes a replica of the other.
    ///
    /// # Panics
    /// If it does not start.
    pub fn revive(&mut self, port: u16) {
        let mut servers = self.servers.iter_mut();
        let server = servers.find(|server| server.told_port() == port);
        server.expect("one of the two").restart();
    }

    /// Makes the replica the master while all are well, as an operator does before work on a machine.
    ///
    /// # Panics
    /// If the sentinels still refuse after a while.
    pub fn plan_failover(&self) {
        let mut command = redis::cmd("SENTINEL");
        command.arg("failover").arg(SERVICE);
        let (_, port) = self.sentinels[0];
        // A sentinel that has not heard of the replica for some seconds, as on a machine that is busy, refuses.
        until("the sentinels agree to a failover", || {
            ask::<()>(&client(port, &self.password), &command).is_ok()
        });
    }

    /// Waits until another server than `port` is the master, by its own word too.
    pub fn wait_for_another_master(&self, port: u16) {
        until("a failover", || {
            let now = self.master_port();
            let mut servers = self.servers.iter();
            now != port
                && servers.any(|server| {
                    let info: RedisResult<String> =
                        server.ask(redis::cmd("INFO").arg("replication"));
                    server.told_port() == now && info.is_ok_and(|text| text.contains("role:master"))
                })
        });
    }

    /// Waits until the master has a replica in step, and a further failover would be agreed to.
    pub fn wait_for_replica(&self) {
        until("the replica is in step", || has_replica(self.server(true)));
        until("the sentinels are ready for a failover", || {
            self.views().iter().all(|view| {
                let is = |field: &str, value: &str| view.get(field).is_some_and(|v| v == value);
                is("flags", "master") && is("num-slaves", "1")
            })
        });
    }

    /// `kill -9` to both servers.
    pub fn kill(&mut self) {
        for server in &mut self.servers {
            server.process.kill();
        }
    }

    /// Starts both servers again after [`Self::kill`], and waits until one is the master and agrees.
    pub fn restart(&mut self) {
        for server in &mut self.servers {
            server.restart();
        }
        let servers = &self.servers;
        until("a master", || {
            let port = self.master_port();
            let master = servers.iter().find(|server| server.told_port() == port);
            master.is_some_and(|server| {
                let info: RedisResult<String> = server.ask(redis::cmd("INFO").arg("replication"));
                info.is_ok_and(|text| text.contains("role:master"))
            })
        });
    }
}

fn has_replica(server: &PortServer) -> bool {
    let info: RedisResult<String> = server.ask(redis::cmd("INFO").arg("replication"));
    info.is_ok_and(|text| text.contains("state=online"))
}

fn sentinel(master: u16, password: &str, tls: Option<&Certificates>) -> (Process, u16) {
    on_port(
        |port| client(port, password),
        |port, folder| {
            let wants = match password {
                "" => String::new(),
                // Sentinels log in at each other with the same password.
                word => format!("requirepass {word}\nsentinel sentinel-pass {word}\n"),
            };
            let tls = tls.map_or_else(String::new, |certificates| {
                let settings = certificates.settings(port, "no");
                let lines = settings.chunks(2);
                let lines =
                    lines.map(|pair| format!("{}\n", pair.join(" ").trim_start_matches('-')));
                lines.chain(["tls-replication yes\n".to_owned()]).collect()
            });
            let text = format!(
                "port {port}\nbind 127.0.0.1\ndir {}\n{wants}{tls}\
                 sentinel monitor {SERVICE} 127.0.0.1 {master} 2\n\
                 sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n\
                 sentinel failover-timeout {SERVICE} 6000\n",
                folder.display(),
            );
            let file = folder.join("sentinel.conf");
            std::fs::write(&file, text).expect("a settings file");
            vec![file.display().to_string(), "--sentinel".to_owned()]
        },
    )
}

fn client(port: u16, password: &str) -> Client {
    match password {
        "" => local(port),
        word => Client::open(format!("redis://:{word}@127.0.0.1:{port}")).expect("an address"),
    }
}
