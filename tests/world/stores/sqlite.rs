//! Orders in a database, whose ids are those of the events: opaque, unordered, and known as long as the
//! database exists.

use super::Progress;
use super::client::{Client, Seen};
use crate::payloads::END;
use crate::support::{Running, ms, scratch, serve_at, serve_with};
use mio_sse::{
    Config, Context, Error, Event, EventSender, Handler, History, Ids, Missed, Reply, Request, StreamId,
    TopicConfig,
};
use rusqlite::{Connection, OptionalExtension};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const TOPIC: &str = "orders";
/// The id of a client that has seen nothing, which comes before all orders.
const NOTHING: &str = "nothing";
const CLIENTS: u64 = 8;
const SERVERS: usize = 4;
/// Orders that are stored while a server runs, and while none does.
const ORDERS: u32 = 600;
const ORDERS_AWAY: u32 = 40;
/// Size of the topic's history: less than a client may miss.
const KEPT: usize = 20;

/// The database. Readers never wait for writers.
struct Store(Connection);

impl Store {
    fn open(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        connection.busy_timeout(ms(10_000)).unwrap();
        // This does not test a crash of the computer.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;").unwrap();
        Self(connection)
    }

    fn create(path: &Path) -> Self {
        let store = Self::open(path);
        let orders =
            "CREATE TABLE orders (row INTEGER PRIMARY KEY, id TEXT UNIQUE, name TEXT, number INTEGER)";
        store.0.execute_batch(orders).unwrap();
        store.0.execute("INSERT INTO orders VALUES (0, ?1, '', 0)", [NOTHING]).unwrap();
        store
    }

    fn add(&self, order: &Order) {
        let insert = "INSERT INTO orders (id, name, number) VALUES (?1, ?2, ?3)";
        self.0.execute(insert, (&order.id, &order.name, order.number)).unwrap();
    }

    fn row_of(&self, id: &str) -> Option<u32> {
        self.0.query_row("SELECT row FROM orders WHERE id = ?1", [id], |row| row.get(0)).optional().unwrap()
    }

    fn newest(&self) -> u32 {
        self.0.query_row("SELECT max(row) FROM orders", [], |row| row.get(0)).unwrap()
    }

    /// Sends the rows after one, up to another. Returns an error if the client has left.
    fn send(&self, behind: u32, up_to: u32, events: &EventSender, counts: &Counts) -> Result<(), Error> {
        let select = "SELECT id, name, number FROM orders WHERE row > ?1 AND row <= ?2 ORDER BY row";
        let mut select = self.0.prepare(select).unwrap();
        let order =
            |row: &rusqlite::Row<'_>| Ok(Order { id: row.get(0)?, name: row.get(1)?, number: row.get(2)? });
        for order in select.query_map((behind, up_to), order).unwrap() {
            events.send(order.unwrap().event())?;
            counts.brought.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

struct Order {
    id: String,
    name: String,
    number: u32,
}

impl Order {
    fn new(number: u32, name: &str) -> Self {
        // As good as random, but never twice.
        let id = format!("{:016x}", u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self { id, name: name.to_owned(), number }
    }

    fn event(self) -> Event<'static> {
        Event::new().data(self.number.to_string()).event(self.name).id(self.id)
    }
}

/// Counters over all servers.
#[derive(Default)]
struct Counts {
    asked: AtomicU64,
    brought: AtomicU64,
}

/// The application. A thread reads missed orders, as a database is too slow for the loop.
struct Orders {
    path: PathBuf,
    store: Arc<Mutex<Store>>,
    counts: Arc<Counts>,
}

impl Handler for Orders {
    fn started(&mut self, cx: &mut Context<'_>) {
        let config = TopicConfig::default().history(History::new().events(KEPT)).ids(Ids::Own);
        cx.configure(TOPIC, config).unwrap();
    }

    fn request(&mut self, _request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
        Reply::stream().topic(TOPIC).tag("all").retry(ms(20)).into()
    }

    fn missed(&mut self, stream: StreamId, last_event_id: &str, cx: &mut Context<'_>) -> Missed {
        let store = self.store.lock().unwrap();
        let Some(behind) = store.row_of(last_event_id) else { return Missed::Gap };
        // An order is published in the callback that stores it. So orders stored after this one are published
        // after this call.
        let up_to = store.newest();
        let Ok(events) = cx.channel(stream, 8) else { return Missed::Gap };
        let (path, counts) = (self.path.clone(), self.counts.clone());
        counts.asked.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(move || {
            if Store::open(&path).send(behind, up_to, &events, &counts).is_ok() {
                events.complete();
            }
        });
        Missed::Later
    }
}

/// Stores an order and publishes it, in one callback.
fn publish(server: &Running, store: &Arc<Mutex<Store>>, order: Order, progress: &Arc<Progress>) {
    let (store, progress) = (store.clone(), progress.clone());
    let publish = move |cx: &mut Context<'_>| {
        store.lock().unwrap().add(&order);
        progress.is_at(order.number);
        cx.publish(TOPIC, order.event())
    };
    server.publisher.run(publish).unwrap();
}

#[test]
fn orders_of_a_database_survive_three_new_servers() {
    let path = scratch("orders").join("orders.sqlite");
    let store = Arc::new(Mutex::new(Store::create(&path)));
    let (counts, progress) = (Arc::<Counts>::default(), Arc::<Progress>::default());
    let app = || Orders { path: path.clone(), store: store.clone(), counts: counts.clone() };
    let mut dice = fastrand::Rng::with_seed(13);
    let mut server = serve_with(app(), Config::default());
    let address: SocketAddr = server.address;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|seed| {
            let progress = progress.clone();
            std::thread::spawn(move || Client::new(seed, NOTHING).live("/", &progress, |_| address))
        })
        .collect();

    let (mut number, mut gaps) = (0, 0);
    for life in 1..=SERVERS {
        for _ in 0..ORDERS {
            number += 1;
            publish(&server, &store, Order::new(number, "order"), &progress);
            if dice.usize(..100) == 0 {
                server.publisher.close_tagged("all").unwrap();
            }
            std::thread::sleep(ms(2));
        }
        if life < SERVERS {
            // By then every published order has been stored.
            gaps += server.stats().gaps;
            drop(server);
            for _ in 0..ORDERS_AWAY {
                number += 1;
                store.lock().unwrap().add(&Order::new(number, "order"));
            }
            progress.is_at(number);
            server = serve_at(address, app, &Config::default());
        }
    }
    publish(&server, &store, Order::new(number + 1, END), &progress);
    server.stats();
    progress.is_over();

    let clients: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    gaps += server.stats().gaps;
    let visits: u64 = clients.iter().map(|client| client.visits).sum();
    let count = |count: &AtomicU64| count.load(Ordering::SeqCst);
    let (asked, brought) = (count(&counts.asked), count(&counts.brought));
    println!(
        "{CLIENTS} clients, {SERVERS} servers, {number} orders each: {visits} visits; for {asked} of them \
         the database brought {brought} orders, {gaps} gaps",
    );
    for client in &clients {
        assert_story(&client.story, number);
    }
    assert_eq!(gaps, 0);
    assert!(asked > CLIENTS * 4 && visits > asked, "{asked} {visits}");
}

/// Checks that every order has arrived in order and once, without a gap.
fn assert_story(story: &[Seen], numbers: u32) {
    let expected = (1..=numbers).map(Seen::Number).chain([Seen::End]);
    for (at, (seen, expected)) in story.iter().zip(expected).enumerate() {
        assert_eq!(*seen, expected, "at {at}: {:?}", &story[at.saturating_sub(3)..story.len().min(at + 4)]);
    }
    assert_eq!(story.len(), numbers as usize + 1);
}
