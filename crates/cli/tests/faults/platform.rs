//! A platform of one fabric and one host: server, router and agent as real processes.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_mainstay");
/// Far above what any condition takes, so that a failure is told and not waited for.
const LIMIT: Duration = Duration::from_mins(1);

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The example site's binary, which is another package's.
fn site() -> PathBuf {
    let beside = Path::new(BINARY).with_file_name("mainstay-site");
    if !beside.is_file() {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--package", "mainstay-site"])
            .status()
            .unwrap();
        assert!(built.success());
    }
    beside
}

pub(crate) struct Platform {
    dir: TempDir,
    url: String,
    listen: String,
    router: String,
    server: Child,
    others: Vec<Child>,
    /// Instances that no agent ends any more.
    orphans: Vec<u32>,
}

impl Platform {
    /// Server, router and agent, with the fabric and the host declared.
    pub(crate) fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    /// The same, in `dir`.
    pub(crate) fn start_in(dir: TempDir) -> Self {
        let listen = format!("127.0.0.1:{}", free_port());
        let router = format!("127.0.0.1:{}", free_port());
        let mut platform = Self {
            url: format!("http://{listen}"),
            server: serve(dir.path(), &listen),
            listen,
            router,
            others: Vec::new(),
            orphans: Vec::new(),
            dir,
        };
        let fabric = format!(
            "apiVersion: mainstay/v1\nkind: Fabric\nmetadata: {{name: lax}}\nspec: {{listen: \"{}\"}}\n---\n\
             apiVersion: mainstay/v1\nkind: Host\nmetadata: {{name: h1}}\nspec: {{fabric: lax}}\n---\n\
             apiVersion: mainstay/v1\nkind: RolloutPolicy\nmetadata: {{name: careful}}\nspec: {{bake: 1s, maxEvidenceWait: 30s}}\n",
            platform.router
        );
        let applied = platform.apply(&fabric);
        assert!(applied.status.success(), "{}", stderr(&applied));
        let data = |name: &str| platform.dir.path().join(name).display().to_string();
        let router = ["router", "--fabric", "lax", "--listen", &platform.router];
        let agent = ["agent", "--host", "h1"];
        let mut started = Vec::new();
        for (args, name) in [(&router[..], "router"), (&agent[..], "agent")] {
            let child = Command::new(BINARY)
                .args(args)
                .args([
                    "--data-dir",
                    &data(name),
                    "--server",
                    &platform.url,
                    "--leash",
                ])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            started.push(child);
        }
        platform.others = started;
        platform
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        Command::new(BINARY)
            .args(args)
            .args(["--server", &self.url])
            .output()
            .unwrap()
    }

    /// One request of a user, whatever becomes of it.
    pub(crate) fn ask(&self, path: &str) {
        let mut stream = TcpStream::connect(&self.router).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
    }

    /// What it says to whoever asks whether it is ready: status and body.
    pub(crate) fn ready(&self) -> (String, String) {
        let mut stream = TcpStream::connect(&self.listen).unwrap();
        let request = "GET /-/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
        (status, answer)
    }

    /// What is blocked, as a person reads it.
    pub(crate) fn status(&self) -> String {
        let said = self.run(&["status"]);
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    /// What an apply would do.
    pub(crate) fn dry(&self, yaml: &str) -> Output {
        let file = self.dir.path().join("dry.yaml");
        std::fs::write(&file, yaml).unwrap();
        self.run(&["apply", "--dry-run", "-f", &file.display().to_string()])
    }

    pub(crate) fn apply(&self, yaml: &str) -> Output {
        let file = self.dir.path().join("input.yaml");
        std::fs::write(&file, yaml).unwrap();
        self.run(&["apply", "-f", file.to_str().unwrap()])
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--output", "json"]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Entries of the ledger.
    pub(crate) fn entries(&self) -> u64 {
        self.json(&["ledger", "verify"])["entries"]
            .as_u64()
            .unwrap()
    }

    /// A service of two instances on the one host.
    pub(crate) fn service(&self, version: &str, policy: &str) -> String {
        let artifacts = self.dir.path().join("artifacts/shop");
        format!(
            "apiVersion: mainstay/v1\nkind: Service\nmetadata: {{name: shop}}\nspec:\n  owner: shop\n  version: {version}\n  \
             instances: {{lax: 2}}\n  policy: {policy}\n  capacityRps: 100\n  run: {{artifacts: \"{}\"}}\n",
            artifacts.display()
        )
    }

    /// Builds a version of the service.
    pub(crate) fn build(&self, version: &str, defects: &[&str]) {
        let mut command = Command::new(site());
        command.args(["build", "--service", "shop", "--version", version, "--out"]);
        command.arg(self.dir.path().join("artifacts"));
        for defect in defects {
            command.args(["--defect", defect]);
        }
        let built = command.output().unwrap();
        assert!(built.status.success(), "{}", stderr(&built));
    }

    /// A version that ends as soon as it is started.
    pub(crate) fn broken(&self, version: &str) {
        let run = self
            .dir
            .path()
            .join("artifacts/shop")
            .join(version)
            .join("run");
        std::fs::create_dir_all(run.parent().unwrap()).unwrap();
        std::fs::copy("/bin/false", &run).unwrap();
        std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Puts another executable in the place of a version's.
    pub(crate) fn exchange(&self, version: &str) {
        let folder = self.dir.path().join("artifacts/shop").join(version);
        std::fs::copy("/bin/sleep", folder.join("run.new")).unwrap();
        std::fs::rename(folder.join("run.new"), folder.join("run")).unwrap();
    }

    /// Where the newest rollout stands: its id, its state, and why.
    pub(crate) fn newest(&self) -> (String, String, String) {
        let newest = &self.json(&["get", "rollouts"])[0];
        let text = |path: &str| newest.pointer(path).unwrap().as_str().unwrap().to_owned();
        (
            text("/metadata/name"),
            text("/status/state"),
            text("/status/because"),
        )
    }

    /// Waits until the newest rollout of `service` is in `state`.
    pub(crate) fn wait_for(&self, service: &str, state: &str) {
        self.until(&format!("{service} is {state}"), || {
            let rollouts = self.json(&["get", "rollouts"]);
            let newest = rollouts
                .as_array()
                .unwrap()
                .iter()
                .find(|it| it["spec"]["service"] == service);
            newest.is_some_and(|it| it["status"]["state"] == state)
        });
    }

    pub(crate) fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !holds() {
            assert!(
                Instant::now() < deadline,
                "not within {LIMIT:?}: {what}\n{:#}",
                self.json(&["get", "rollouts"])
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Processes of instances on this machine, as the kernel shows them.
    pub(crate) fn pids(&self) -> BTreeMap<String, u32> {
        let under = self.dir.path().join("artifacts").canonicalize().unwrap();
        let mut found = BTreeMap::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|it| it.parse::<u32>().ok())
            else {
                continue;
            };
            let ours = std::fs::read_link(entry.path().join("exe"))
                .is_ok_and(|exe| exe.starts_with(&under));
            let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let named = environ
                .split(|byte| *byte == 0)
                .find_map(|pair| pair.strip_prefix(b"INSTANCE="))
                .map(|name| String::from_utf8_lossy(name).into_owned());
            if let (true, Some(name)) = (ours, named) {
                let twice = found.insert(name.clone(), pid);
                assert_eq!(twice, None, "{name} has two processes");
            }
        }
        found
    }

    /// Kills the agent; the instances that it started go on, until they are killed too.
    pub(crate) fn kill_agent(&mut self) {
        self.orphans = self.pids().into_values().collect();
        let mut agent = self.others.pop().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// Kills the instances of an agent that was killed.
    pub(crate) fn kill_orphans(&mut self) {
        for pid in std::mem::take(&mut self.orphans) {
            // An error means that it is gone already.
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }

    pub(crate) fn kill_server(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    pub(crate) fn start_server(&mut self) {
        self.server = serve(self.dir.path(), &self.listen);
    }
}

/// A server that says where it listens has begun to.
fn serve(dir: &Path, listen: &str) -> Child {
    let mut child = Command::new(BINARY)
        .args([
            "serve",
            "--otlp-listen",
            "none",
            "--listen",
            listen,
            "--data-dir",
        ])
        .arg(dir.join("server"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    lines
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.contains("listening on "))
        .expect("the server says where it listens");
    // Its log is read for as long as it lives: a full pipe would stop it.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    child
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.kill_orphans();
        for child in &mut self.others {
            // The leash: the end of its input tells it to end, and its instances with it.
            drop(child.stdin.take());
        }
        for child in &mut self.others {
            let deadline = Instant::now() + Duration::from_secs(20);
            while child.try_wait().is_ok_and(|ended| ended.is_none()) {
                if Instant::now() > deadline {
                    let _ = child.kill();
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        // An error means that it is gone already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
