//! What the pages of the examples look like, on a desk and on a phone, by day and by night.

use super::Tab;
use crate::support::{Example, target_dir};
use base64::Engine;
use serde_json::json;

/// Example, path, what is done once the page is loaded, and what is waited for before the picture is taken.
const PAGES: &[(&str, &str, &str, &str)] = &[(
    "time_ticker",
    "/",
    "document.getElementById('clock-connect').click()",
    "document.getElementById('clock-count').textContent >= 30",
)];

const SIZES: [(&str, u32, u32); 2] = [("1280x800", 1280, 800), ("390x844", 390, 844)];

#[test]
fn pages_of_examples_ask_nobody_else_log_no_error_and_are_pictured() {
    let pictures = target_dir().join("screenshots");
    std::fs::create_dir_all(&pictures).unwrap();
    for (name, path, script, ready) in PAGES {
        let example = Example::start(name);
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
                tab.go(&example.url(path));
                tab.run(script);
                tabs.push((format!("{name}-{size}-{scheme}.png"), width, tab));
            }
        }
        for (file, width, tab) in tabs {
            tab.wait_for(ready);
            let picture = tab.call("Page.captureScreenshot", &json!({ "format": "png" }));
            let picture = base64::prelude::BASE64_STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
            std::fs::write(pictures.join(&file), picture).unwrap();

            assert_eq!(tab.errors(), [""; 0], "{file}");
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
