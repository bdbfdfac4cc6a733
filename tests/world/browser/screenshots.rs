//! Pictures of the examples' pages, on a desktop and on a phone, in light and dark.

use super::Tab;
use crate::support::{Example, repository, target_dir};
use base64::Engine;
use serde_json::json;
use std::fs::File;

/// One page, and the actions before its picture.
struct Page {
    /// The example that serves it at `/`.
    example: &'static str,
    /// The action once it is loaded.
    script: &'static str,
    /// The condition for the picture.
    ready: &'static str,
}

const PAGES: &[Page] = &[
    Page {
        example: "time_ticker",
        script: "document.getElementById('clock-connect').click()",
        ready: "document.getElementById('clock-count').textContent >= 30",
    },
    Page {
        example: "notes",
        script: "(async () => {
            await fetch('/login', { method: 'POST', body: new URLSearchParams({ name: 'Ada' }) });
            const texts = ['Water the plants', 'Call Grace about the compiler', 'Read the standard, section 9.2', 'Buy milk'];
            const text = texts[(innerWidth > 500) * 2 + matchMedia('(prefers-color-scheme: dark)').matches];
            const headers = { 'Content-Type': 'application/json' };
            await fetch('/notes', { method: 'POST', headers, body: JSON.stringify({ text }) });
            location.reload();
        })()",
        ready: "document.getElementById('notes').childElementCount >= 4",
    },
    Page {
        example: "countdown",
        script: "document.getElementById('start').click()",
        ready: "document.getElementById('number').textContent == '7'",
    },
    Page {
        example: "tokens",
        script: "document.getElementById('send').click()",
        ready: "document.getElementById('talk').textContent.length > 90",
    },
    Page { example: "tail", script: "", ready: "document.getElementById('count').textContent >= 30" },
    Page { example: "prices", script: "", ready: "document.getElementById('count').textContent >= 500" },
    Page {
        example: "dashboard",
        script: "document.getElementById('open')?.click()",
        ready: "document.querySelectorAll('canvas').length >= 4 && performance.now() > 6000",
    },
    Page {
        example: "htmx",
        script: "(async () => {
            const texts = ['Milk', 'Two loaves of bread, the dark one', 'Coffee beans', 'Oranges'];
            const text = texts[(innerWidth > 500) * 2 + matchMedia('(prefers-color-scheme: dark)').matches];
            await fetch('/items', { method: 'POST', body: new URLSearchParams({ text }) });
        })()",
        ready: "document.querySelectorAll('#list li').length >= 4 && document.getAnimations().length == 0",
    },
    Page {
        example: "datastar",
        script: "(async () => {
            while (!document.querySelector('#option-2 button')) await new Promise((done) => setTimeout(done, 10));
            for (const option of [0, 1, 1, 2, 1, 2]) await fetch(`/options/${option}/vote`, { method: 'POST' });
        })()",
        ready: "document.getElementById('total').textContent == '24'",
    },
];

const SIZES: [(&str, u32, u32); 2] = [("1280x800", 1280, 800), ("390x844", 390, 844)];

#[test]
fn pages_of_examples_ask_nobody_else_log_no_error_and_are_pictured() {
    let pictures = target_dir().join("screenshots");
    std::fs::create_dir_all(&pictures).unwrap();
    for Page { example: name, script, ready } in PAGES {
        // `tail` shows its standard input.
        let readme = File::open(repository().join("README.md")).unwrap();
        let example = Example::start_with(name, readme);
        let mut tabs = Vec::new();
        for (size, width, height) in SIZES {
            for scheme in ["light", "dark"] {
                let tab = Tab::blank();
                let phone = width < 500;
                let metrics =
                    json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone });
                tab.call("Emulation.setDeviceMetricsOverride", &metrics);
                let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
                tab.call("Emulation.setEmulatedMedia", &media);
                tab.go(&example.url("/"));
                tab.run(script);
                tabs.push((format!("{name}-{size}-{scheme}.png"), width, tab));
            }
        }
        for (file, width, tab) in tabs {
            tab.wait_for(ready);
            let picture = tab.call("Page.captureScreenshot", &json!({ "format": "png" }));
            let picture = base64::prelude::BASE64_STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
            std::fs::write(pictures.join(&file), picture).unwrap();

            // `notes` learns from a 401 that the user is not logged in.
            let errors = tab.errors().into_iter().filter(|error| *name != "notes" || !error.contains("401"));
            assert_eq!(errors.collect::<Vec<_>>(), [""; 0], "{file}");
            let wide = tab.run("document.documentElement.scrollWidth");
            assert!(wide.as_u64().unwrap() <= u64::from(width), "{file} is {wide} pixels wide");
            let ours = format!("http://{}/", example.address);
            let asked = tab.events("Network.requestWillBeSent");
            assert!(asked.len() >= 2, "{file}: {asked:?}");
            for request in asked {
                let url = request["request"]["url"].as_str().unwrap();
                assert!(url.starts_with(&ours) || url.starts_with("data:"), "{file} asks for {url}");
            }
        }
    }
}
