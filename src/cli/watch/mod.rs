//! `unmute watch`: a page on this machine that shows a grid filling. It reads the store, and changes nothing.

mod grid;
mod pace;
mod page;
mod server;

use super::progress::say;
use super::watch_args::WatchArgs;
use super::{Exit, Failure, open, print, signals};
use crate::store::{Error, PickError, Store};
use page::Page;
use server::Shared;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The port that is tried first.
const PORT: u16 = 8424;

/// How often the store is asked whether anything was written.
const LOOK: Duration = Duration::from_secs(1);

/// Times that have passed are told anew after this long, where nothing was written.
const REFRESH: Duration = Duration::from_secs(5);

pub(super) fn watch(args: &WatchArgs) -> Result<Exit, Failure> {
    let mut reader = Reader { args, store: None, tables: page::Tables::default() };
    if let Some(path) = &args.once {
        // A mistyped name is an error here; the page that stays open waits for what is not there yet.
        let store = open::store(&args.db.db)?;
        if let Some(what) = reader.what(&store)? {
            open::recorded(&store, &what, &args.pick.pick())?;
        }
        let html = reader.look()?.whole();
        std::fs::write(path, html).map_err(|e| Failure {
            exit: Exit::Failed,
            message: format!("{}: {}", path.display(), crate::explain_io(&e)),
        })?;
        return Ok(Exit::Done);
    }
    let listener = listen(args.port)?;
    let address = listener.local_addr()?;
    let stop = signals::flag()?;
    let shared = Arc::new(Shared::new(reader.look_or_told()?));
    let serving = {
        let shared = shared.clone();
        std::thread::Builder::new().name("watch".into()).spawn(move || server::serve(listener, &shared, stop))?
    };
    say(&format!("watching {}; open this in a browser, Ctrl-C ends it:", args.db.db.display()));
    print(&format!("http://{address}/\n"))?;
    let mut seen = (reader.sequence(), Instant::now());
    while !stop.load(Ordering::Relaxed) && !serving.is_finished() {
        std::thread::sleep(Duration::from_millis(100));
        // Nobody looks, so nothing is read; the first to come is not shown what is old.
        if shared.readers() == 0 && !shared.wanted() {
            continue;
        }
        if seen.1.elapsed() < LOOK && !shared.wanted() {
            continue;
        }
        let now = reader.sequence();
        if now != seen.0 || seen.1.elapsed() >= REFRESH || shared.wanted() {
            shared.publish(reader.look_or_told()?);
            seen = (now, Instant::now());
        }
    }
    stop.store(true, Ordering::Relaxed);
    match serving.join() {
        Ok(result) => result?,
        Err(_) => return Err(Failure { exit: Exit::Failed, message: "a bug in unmute: the server ended".into() }),
    }
    Ok(Exit::Done)
}

/// A socket on loopback. Where the usual port is taken and nobody asked for one, a free one does.
fn listen(port: Option<u16>) -> Result<TcpListener, Failure> {
    let bind = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = match port {
        Some(port) => bind(port),
        None => bind(PORT).or_else(|_| bind(0)),
    };
    let listener = listener.map_err(|e| {
        let port = port.unwrap_or(PORT);
        Failure {
            exit: Exit::Failed,
            message: format!("port {port} of 127.0.0.1: {e}\n  next: another --port; 0 takes a free one"),
        }
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Reads the store as often as it is asked.
struct Reader<'a> {
    args: &'a WatchArgs,
    store: Option<Store>,
    tables: page::Tables,
}

impl Reader<'_> {
    /// What is watched: what was asked for, or what was run last; `None` where nothing was.
    fn what(&self, store: &Store) -> Result<Option<PathBuf>, Failure> {
        match &self.args.experiment {
            Some(what) => Ok(Some(what.clone())),
            None => Ok(store.experiment_names()?.first().map(PathBuf::from)),
        }
    }

    /// Transactions so far; `None` where there is no store yet.
    fn sequence(&mut self) -> Option<i64> {
        if self.store.is_none() {
            self.store = Store::open_to_read(&self.args.db.db).ok();
        }
        self.store.as_ref().and_then(|store| store.sequence().ok())
    }

    /// The page as it is now, or what keeps it from being read: a page that is open outlives a store that is moved away.
    fn look_or_told(&mut self) -> Result<Page, Failure> {
        match self.look() {
            Ok(page) => Ok(page),
            Err(failure) if failure.exit == Exit::Usage && self.args.experiment.is_some() => {
                Page::told(&self.args.db.db, &failure.message)
            }
            Err(failure) => {
                // It is opened again the next time: another file may have its name now.
                self.store = None;
                Page::told(&self.args.db.db, &failure.message)
            }
        }
    }

    fn look(&mut self) -> Result<Page, Failure> {
        let db = &self.args.db.db;
        let store = match self.store.take() {
            Some(store) => store,
            None => match Store::open_to_read(db) {
                Ok(store) => open::told(store),
                Err(Error::Missing { .. }) => {
                    return Page::told(
                        db,
                        "There is no store yet. `unmute run` makes it, and this page shows it then.",
                    );
                }
                Err(e) => return Err(e.into()),
            },
        };
        let page = match self.what(&store)? {
            None => Page::told(db, "Nothing was run in this store yet."),
            Some(what) => {
                let folder = what.join("experiment.yaml").is_file();
                let name = match folder {
                    true => crate::experiment::Experiment::load(&what, &[])?.config.name,
                    false => what.to_string_lossy().into_owned(),
                };
                match store.pick(&name, &self.args.pick.pick()) {
                    Ok((_, record)) => page::page(&store, &record, &mut self.tables),
                    Err(PickError::NoExperiment { .. }) if folder => {
                        Page::told(db, &format!("{name} was not run in this store yet."))
                    }
                    Err(PickError::Store(e)) => Err(e.into()),
                    Err(e) => Err(Failure::usage(format!("{}: {e}", what.display()))),
                }
            }
        };
        self.store = Some(store);
        page
    }
}
