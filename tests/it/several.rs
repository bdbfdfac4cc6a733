//! Several servers on one port, as on several cores: the kernel distributes the connections.

use crate::support::{Client, Running, run};
use mio_sse::{Config, Event, History, Ids, Reply, Router, Server, TopicConfig};
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr};

/// So many that the chance of all of them at one server is 2 to the power of -63.
const CLIENTS: u64 = 64;

fn two_servers() -> [Running; 2] {
    let first = run(server(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))));
    let second = run(server(first.address));
    [first, second]
}

fn server(address: SocketAddr) -> Server<Router> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket.listen(4096).unwrap();
    let mut app = Router::new();
    app.get("/events", |_request, _cx| Reply::stream().topic("news"));
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new().events(10)).ids(Ids::Own);
    Server::from_listener(socket.into(), app, config).unwrap()
}

fn publish(servers: &[Running], event: &Event<'_>) {
    for server in servers {
        server.publisher.publish("news", event.clone()).unwrap();
    }
}

/// Connects, and checks that both servers have some of the streams.
fn subscribe(servers: &[Running], path: &str) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| servers[0].connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get(path).status, 200);
    }
    let counts: Vec<u64> = servers.iter().map(|server| server.stats().streams_opened).collect();
    assert_eq!(counts.iter().sum::<u64>(), CLIENTS);
    assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
    clients
}

#[test]
fn events_published_to_each_server_reach_every_client_once() {
    let servers = two_servers();
    let mut clients = subscribe(&servers, "/events");
    for number in 1..=3 {
        publish(&servers, &Event::new().data(number.to_string()));
    }
    for client in &mut clients {
        assert_eq!(client.data(3), ["1", "2", "3"]);
    }
}

/// Server ids belong to one server; ids of the application mean the same at all.
#[test]
fn with_ids_of_the_application_a_client_may_resume_at_any_server() {
    let servers = two_servers();
    for id in ["a", "b", "c"] {
        publish(&servers, &Event::new().data(id).id(id));
    }
    for mut client in subscribe(&servers, "/events?last_event_id=a") {
        let ids: Vec<String> = client.events(2).into_iter().map(|event| event.id).collect();
        assert_eq!(ids, ["b", "c"]);
    }
}
