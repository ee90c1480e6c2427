//! `unmute watch`: what it serves, to whom, while others write; and how it ends.

use crate::report::{browser_tools, chromium};
use crate::support::call::{Place, Said};
use crate::support::require;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A table over what the tiny experiment trains.
const TABLES: &str = "tables:
  - table: 3
    title: On sound alone
    audio: [vggish]
    accuracy:
      - {key: lstm, row: LSTM, fuse: audio(lstm/l2/with)}
      - {key: autoencoder, row: Autoencoder, fuse: audio(autoencoder/l2/with)}
";

/// The program, serving.
struct Watching {
    child: Option<Child>,
    port: u16,
}

impl Watching {
    fn begin(place: &Place, words: &str) -> Watching {
        let mut child = place.call("watch --port 0").words(words).begin(Stdio::piped(), Stdio::piped());
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("http://127.0.0.1:").and_then(|rest| rest.strip_suffix('/'));
        let Some(port) = port.and_then(|port| port.parse().ok()) else {
            panic!("{line:?}: {}", Said::of(child.wait_with_output().unwrap()).text());
        };
        Watching { child: Some(child), port }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Sends a request as it is; gives all that comes back.
    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n", self.port))
    }

    /// The events as they come, until `enough`.
    fn events(&self, mut enough: impl FnMut(&str) -> bool) -> Vec<String> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let request = format!("GET /events HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", self.port);
        (&stream).write_all(request.as_bytes()).unwrap();
        let mut events = Vec::new();
        for line in BufReader::new(stream).lines() {
            let line = line.unwrap();
            if line.starts_with("event:") || line.starts_with("data:") {
                events.push(line);
                if enough(&events[events.len() - 1]) {
                    break;
                }
            }
        }
        events
    }

    /// Asks it to end, and gives what it said; it ends with 0.
    fn end(mut self, signal: &str) -> String {
        let child = self.child.take().unwrap();
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let said = Said::of(child.wait_with_output().unwrap());
        assert_eq!(said.code, Some(0), "{}", said.text());
        said.stderr
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn the_page_is_for_this_machine_and_only_read() {
    let place = Place::new();
    let watching = Watching::begin(&place, "--db later.db");
    let page = watching.get("/");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("There is no store yet"), "{page}");
    for header in [
        "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self'",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
        "cross-origin-resource-policy: same-origin",
    ] {
        assert!(page.contains(header), "{header} in {page}");
    }
    assert!(!page.contains("<style") && !page.contains("style=\"") && !page.contains("onclick"), "{page}");
    assert!(!place.path("later.db").exists(), "watching makes no store");
    let status = |request: &str| watching.ask(request).lines().next().unwrap_or_default().to_string();
    // A page elsewhere that has its own name point here is refused, whatever it asks for.
    for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "192.168.0.1"] {
        for path in ["/", "/events", "/watch.js"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            assert!(status(&request).contains("421"), "{host}{path}");
        }
    }
    assert!(status("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").contains('4'), "without a host");
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let request =
            format!("{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        assert!(status(&request).contains("405"), "{method}");
    }
    assert!(watching.get("/../Cargo.toml").contains(" 404 ") && watching.get("/runs.db").contains(" 404 "));
    assert!(status(&format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(100_000))).contains('4'));
    assert!(watching.get("/style.css").contains("--ink") && watching.get("/watch.js").contains("EventSource"));
    watching.end("-TERM");
}

#[test]
fn a_grid_is_shown_filling_while_two_processes_write() {
    let place = Place::tiny(60);
    let watching = Watching::begin(&place, "--db runs.db");
    let run = || {
        let call = place.call("run tiny --dataset data --db runs.db --workers 1 --checkpoint-every 0");
        call.begin(Stdio::null(), Stdio::null())
    };
    let mut children = [run(), run()];
    let events = watching.events(|line| line.contains("14 of 14 runs done"));
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    let states: Vec<&String> = events.iter().filter(|e| e.starts_with("data:")).collect();
    assert!(states.len() > 2, "{} events", states.len());
    let seen = |text: &str| states.iter().any(|e| e.contains(text));
    assert!(seen("chip running") && seen("chip waits") && seen("chip done") && seen("At work"), "{states:?}");
    assert!(seen("of 60") && seen("Curves"), "epochs that are kept are shown while it trains");
    let last = watching.get("/");
    assert!(last.contains("14 of 14 runs done") && last.contains("unmute report tiny"), "{last}");
    // Who reads events is told the end.
    let told = std::thread::scope(|scope| {
        let events = scope.spawn(|| {
            let mut pid = watching.child.as_ref().map(|c| c.id().to_string());
            watching.events(|line| {
                if let Some(pid) = pid.take() {
                    Command::new("kill").args(["-INT", &pid]).status().unwrap();
                }
                line == "event: end"
            })
        });
        events.join().unwrap()
    });
    assert_eq!(told.last().map(String::as_str), Some("event: end"));
    let mut watching = watching;
    let said = Said::of(watching.child.take().unwrap().wait_with_output().unwrap());
    assert_eq!(said.code, Some(0), "{}", said.text());
}

#[test]
fn a_page_that_is_open_outlives_a_store_that_is_not_one() {
    let place = Place::tiny(2);
    place.write("runs.db", "this is no database, and longer than a header of one would have to be to be read at all");
    let watching = Watching::begin(&place, "--db runs.db");
    assert!(watching.get("/").contains("200 OK"));
    std::fs::remove_file(place.path("runs.db")).unwrap();
    place.train("runs.db");
    watching.events(|line| line.contains("14 of 14 runs done"));
    watching.end("-TERM");
}

#[test]
fn a_snapshot_is_one_file_with_failures_and_tables() {
    let place = Place::tiny(2);
    place.write("tiny/tables.yaml", TABLES);
    place.train("runs.db");
    place.sql(
        "runs.db",
        "UPDATE run SET state = 'failed', error = 'the loss <b>became</b> NaN' WHERE id = (SELECT id FROM run WHERE key LIKE '%lstm%' LIMIT 1)",
    );
    place.call("watch --db runs.db --once page.html").success();
    let page = place.read("page.html");
    assert!(page.contains("13 of 14 runs done</strong>; the others failed"), "{page}");
    assert!(page.contains("the loss &lt;b&gt;became") && page.contains("chip failed") && page.contains("Table 3"));
    assert!(!page.contains("<script") && !page.contains("http-equiv") && page.contains("<style>"));
    place.call("watch tiny --db runs.db --once again.html --seeds 0").success();
    place.call("watch --db none.db --once x.html").fails(1);
    place.call("watch other --db runs.db --once x.html").stderr("other").fails(2);
    place.call("watch --db runs.db --once no/folder/x.html").fails(1);
    // A port that somebody has.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    place.call("watch --db runs.db --port").arg(&port).stderr("next: another --port").fails(1);
    check(&place.path("page.html").display().to_string());
}

#[test]
fn a_browser_sees_it_fill_without_loading_it_again() {
    let Some(_) = require::found("browser", chromium()) else { return };
    let place = Place::tiny(60);
    place.write("tiny/tables.yaml", TABLES);
    let watching = Watching::begin(&place, "--db runs.db");
    let call = place.call("run tiny --dataset data --db runs.db --workers 1 --checkpoint-every 0");
    let mut run = call.begin(Stdio::null(), Stdio::null());
    check(&watching.url());
    assert!(run.wait().unwrap().success());
    watching.end("-INT");
}

/// Opens a page in a browser and looks for what must not be there.
fn check(page: &str) {
    let Some((chromium, tools)) = browser_tools() else { return };
    let output = Command::new("node").arg(tools.join("watch.mjs")).arg(chromium).arg(page).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("0 faults"), "{page}: {said}");
}
