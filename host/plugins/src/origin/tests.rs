use super::*;

fn origin(uri: &str) -> Result<Origin, NotAnOrigin> {
    Origin::of(&uri.parse().unwrap())
}

#[test]
fn grants_are_parsed_into_one_canonical_form() {
    for (text, shown) in [
        ("http://influxdb:8086", "http://influxdb:8086"),
        ("HTTPS://Influx.Example.COM", "https://influx.example.com"),
        ("https://influx.example.com:443/", "https://influx.example.com"),
        ("http://127.0.0.1:8086", "http://127.0.0.1:8086"),
        ("http://[::1]:8086", "http://[::1]:8086"),
        ("http://[::ffff:127.0.0.1]:8086", "http://127.0.0.1:8086"),
        ("https://*.example.com:8443", "https://*.example.com:8443"),
        ("http://localhost", "http://localhost"),
    ] {
        assert_eq!(
            text.parse::<OriginPattern>().unwrap().to_string(),
            shown,
            "{text}"
        );
    }
}

#[test]
fn grants_that_could_be_misread_are_refused() {
    for (text, says) in [
        ("influxdb:8086", "write `http://HOST:PORT`"),
        ("ftp://influxdb", "only http and https"),
        ("http://", "write `http://HOST:PORT`"),
        ("http://user@influxdb", "a user name"),
        ("http://user:pw@influxdb", "a user name"),
        ("http://influxdb/write", "leave out the path"),
        ("http://influxdb?db=a", "leave out the path"),
        ("http://influxdb:0", "write `http://HOST:PORT`"),
        ("http://influxdb:99999", "write `http://HOST:PORT`"),
        ("http://influxdb:", "write `http://HOST:PORT`"),
        ("http://influxdb.", "write `http://HOST:PORT`"),
        ("http://in fluxdb", "write `http://HOST:PORT`"),
        ("http://127.1", "address in full"),
        ("http://2130706433", "address in full"),
        ("http://0x7f000001", "address in full"),
        ("https://*", "`*` can only stand for"),
        ("https://*.com", "at least two parts"),
        ("https://*.10.0.0.1", "at least two parts"),
        ("https://a.*.example.com", "`*` can only stand for"),
    ] {
        let error = text.parse::<OriginPattern>().unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(text), "{text}: {error}");
    }
}

#[test]
fn a_grant_matches_its_origin_and_nothing_else() {
    for (grant, uri, allowed) in [
        ("http://influxdb:8086", "http://influxdb:8086/write?db=a", true),
        ("http://influxdb:8086", "http://INFLUXDB:8086/", true),
        ("http://influxdb:8086", "http://influxdb/", false),
        ("http://influxdb:8086", "https://influxdb:8086/", false),
        ("http://influxdb:8086", "http://influxdb.evil.com:8086/", false),
        ("https://example.com", "https://example.com:443/", true),
        ("https://example.com", "https://www.example.com/", false),
        ("https://*.example.com", "https://a.example.com/", true),
        ("https://*.example.com", "https://a.b.example.com/", true),
        ("https://*.example.com", "https://example.com/", false),
        ("https://*.example.com", "https://evilexample.com/", false),
        ("https://*.example.com", "https://a.example.com.evil.com/", false),
        ("http://127.0.0.1:8086", "http://[::ffff:7f00:1]:8086/", true),
        ("http://127.0.0.1:8086", "http://127.0.0.2:8086/", false),
        ("http://127.0.0.1:8086", "http://127.1:8086/", false),
        ("http://[::1]:80", "http://[0:0:0:0:0:0:0:1]/", true),
    ] {
        let grant: OriginPattern = grant.parse().unwrap();
        assert_eq!(grant.matches(&origin(uri).unwrap()), allowed, "{grant} {uri}");
    }
}

#[test]
fn an_authority_that_hides_another_host_is_no_origin() {
    for uri in [
        "http://influxdb:8086@evil.com/",
        "http://influxdb@evil.com:8086/",
        "http://influxdb./",
        "http://.influxdb/",
        "http://influxdb:99999/",
        "http://influxdb:0/",
        "http://[::1%25eth0]/",
        "gopher://influxdb/",
        "/only/a/path",
    ] {
        if let Ok(uri) = uri.parse::<Uri>() {
            assert_eq!(Origin::of(&uri), Err(NotAnOrigin), "{uri}");
        }
    }
}
