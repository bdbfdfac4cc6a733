//! One headless browser for all tests, controlled over the pipe of its DevTools protocol: JSON with a NUL
//! after each message.
//!
//! Its standard input and output become that pipe, so no port and no WebSocket is needed. When the tests end,
//! for any reason, the pipe closes and the browser exits too.

use crate::support::{DEADLINE, eventually, now};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock};

/// Chromium's arguments after `--headless`: root in a container cannot have its sandbox, a small /dev/shm
/// suffices, hidden pages are not slowed down, and only the pages' own requests are made.
const ARGUMENTS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-pipe",
];

pub(crate) struct Browser {
    to: Mutex<(ChildStdin, u64)>,
    from: Mutex<Received>,
    arrived: Condvar,
}

#[derive(Default)]
struct Received {
    /// By the number of their call.
    answers: HashMap<u64, Value>,
    /// By their session.
    events: HashMap<String, Vec<Value>>,
    gone: bool,
}

/// The browser of all tests, started when it is first needed.
fn browser() -> &'static Browser {
    static BROWSER: OnceLock<&Browser> = OnceLock::new();
    BROWSER.get_or_init(|| {
        let profiles = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chromium");
        remove_those_of_the_dead(&profiles);
        let profile = profiles.join(std::process::id().to_string());
        std::fs::create_dir_all(&profile).unwrap();
        // Chromium expects the pipe at descriptors 3 and 4.
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec "$@" 3<&0 4>&1 0</dev/null 1>&2"#, "sh", "chromium"]).args(ARGUMENTS);
        command.arg(format!("--user-data-dir={}", profile.display())).arg("about:blank");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let browser: &Browser = Box::leak(Box::new(Browser {
            to: Mutex::new((process.stdin.take().unwrap(), 0)),
            from: Mutex::default(),
            arrived: Condvar::new(),
        }));
        let output = process.stdout.take().unwrap();
        std::thread::spawn(move || {
            browser.receive(BufReader::new(output));
            let _ = process.wait();
        });
        browser
    })
}

/// Profiles are large and useless after their browser has exited.
fn remove_those_of_the_dead(profiles: &Path) {
    for entry in std::fs::read_dir(profiles).into_iter().flatten().flatten() {
        if !Path::new("/proc").join(entry.file_name()).exists() {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

impl Browser {
    fn receive(&self, mut output: impl BufRead) {
        let mut message = Vec::new();
        while output.read_until(0, &mut message).is_ok_and(|count| count > 0) {
            message.pop();
            let mut value: Value = serde_json::from_slice(&message).unwrap();
            message.clear();
            let mut received = self.from.lock().unwrap();
            if let Some(id) = value["id"].as_u64() {
                received.answers.insert(id, value);
            } else if let Value::String(session) = value["sessionId"].take() {
                received.events.entry(session).or_default().push(value);
            }
            self.arrived.notify_all();
        }
        self.from.lock().unwrap().gone = true;
        self.arrived.notify_all();
    }

    fn call(&self, session: Option<&str>, method: &str, params: &Value) -> Value {
        self.try_call(session, method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn try_call(&self, session: Option<&str>, method: &str, params: &Value) -> Result<Value, String> {
        let id = {
            let mut to = self.to.lock().unwrap();
            to.1 += 1;
            let mut message = json!({ "id": to.1, "method": method, "params": params });
            if let Some(session) = session {
                message["sessionId"] = session.into();
            }
            let mut message = message.to_string().into_bytes();
            message.push(0);
            to.0.write_all(&message).expect("the browser runs");
            to.1
        };
        let deadline = now() + DEADLINE;
        let mut received = self.from.lock().unwrap();
        loop {
            if let Some(mut answer) = received.answers.remove(&id) {
                let error = &answer["error"];
                return if error.is_null() { Ok(answer["result"].take()) } else { Err(error.to_string()) };
            }
            let left = deadline.saturating_duration_since(now());
            assert!(!received.gone && !left.is_zero(), "{method} {params} got a reply");
            received = self.arrived.wait_timeout(received, left).unwrap().0;
        }
    }
}

/// State that tabs share: cookies, caches and connections. Tests share nothing of it.
struct Profile(String);

impl Drop for Profile {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            browser().call(None, "Target.disposeBrowserContext", &json!({ "browserContextId": self.0 }));
        }
    }
}

/// A tab, closed when it is dropped.
pub(crate) struct Tab {
    session: String,
    target: String,
    profile: Arc<Profile>,
}

impl Tab {
    /// A new, empty tab in a profile of its own.
    pub(crate) fn blank() -> Self {
        let context = browser().call(None, "Target.createBrowserContext", &json!({}));
        Self::of(Arc::new(Profile(text(&context["browserContextId"]))))
    }

    /// A tab in a profile of its own, with a loaded page.
    pub(crate) fn open(url: &str) -> Self {
        let tab = Self::blank();
        tab.go(url);
        tab
    }

    /// Another tab in the same profile.
    pub(crate) fn another(&self, url: &str) -> Self {
        let tab = Self::of(self.profile.clone());
        tab.go(url);
        tab
    }

    fn of(profile: Arc<Profile>) -> Self {
        let created = json!({ "url": "about:blank", "browserContextId": profile.0 });
        let target = text(&browser().call(None, "Target.createTarget", &created)["targetId"]);
        let attached = json!({ "targetId": target, "flatten": true });
        let session = text(&browser().call(None, "Target.attachToTarget", &attached)["sessionId"]);
        let tab = Self { session, target, profile };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            tab.call(&format!("{domain}.enable"), &json!({}));
        }
        tab
    }

    pub(crate) fn call(&self, method: &str, params: &Value) -> Value {
        browser().call(Some(&self.session), method, params)
    }

    /// Loads a page.
    pub(crate) fn go(&self, url: &str) {
        // The previous page is complete, too.
        self.run("window.left = true");
        let answer = self.call("Page.navigate", &json!({ "url": url }));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.wait_for("!window.left && document.readyState == 'complete'");
    }

    /// Runs a script and returns its result.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.try_run(script).unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    fn try_run(&self, script: &str) -> Result<Value, String> {
        let params =
            json!({ "expression": script, "returnByValue": true, "awaitPromise": true, "replMode": true });
        let mut answer = browser().try_call(Some(&self.session), "Runtime.evaluate", &params)?;
        let exception = &answer["exceptionDetails"];
        if exception.is_null() { Ok(answer["result"]["value"].take()) } else { Err(exception.to_string()) }
    }

    /// Waits until a script returns `true`. It may fail before, for example while a page is replaced.
    pub(crate) fn wait_for(&self, script: &str) {
        eventually(script, || match self.try_run(script)? {
            Value::Bool(true) => Ok(()),
            other => Err(other.to_string()),
        });
    }

    /// The browser's reports about this tab, of one kind.
    pub(crate) fn events(&self, method: &str) -> Vec<Value> {
        let received = browser().from.lock().unwrap();
        let events = received.events.get(&self.session).into_iter().flatten();
        events.filter(|event| event["method"] == method).map(|event| event["params"].clone()).collect()
    }

    /// All errors of this page, as its console shows them.
    pub(crate) fn errors(&self) -> Vec<String> {
        let logged =
            self.events("Log.entryAdded").into_iter().filter(|event| event["entry"]["level"] == "error");
        let called = self.events("Runtime.consoleAPICalled").into_iter();
        let called = called.filter(|event| event["type"] == "error" || event["type"] == "assert");
        let thrown = self.events("Runtime.exceptionThrown");
        logged.chain(called).chain(thrown).map(|event| event.to_string()).collect()
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            browser().call(None, "Target.closeTarget", &json!({ "targetId": self.target }));
            browser().from.lock().unwrap().events.remove(&self.session);
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("text, not {value}")).to_owned()
}
