//! Reads Redis URLs of every topology, and shows them without their secrets.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::RedisConfig;
use crate::queue::QueueError;

/// Every form of `REDIS_URL`, for messages.
pub const URL_FORMS: &str = "REDIS_URL is one of: redis://[USER:PASSWORD@]HOST[:PORT][/DB] for one server; \
     unix:///PATH[?db=DB&user=USER&pass=PASSWORD] for one on this machine; \
     redis+sentinel://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT],…/SERVICE[/DB] with the hosts of the sentinels \
     and the name under which they watch the master; \
     redis+cluster://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT],… with some nodes of a Cluster. \
     For TLS write rediss://, rediss+sentinel:// or rediss+cluster://, with ?ca=FILE for a private certificate \
     authority and &cert=FILE&key=FILE for a client certificate. \
     Special characters of a password are percent-encoded (@ is %40)";

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// A host and a port.
pub type Host = (String, u16);

/// What a URL says, with what the settings add.
#[derive(Debug)]
pub struct Target {
    pub place: Place,
    /// `None`: no TLS.
    pub tls: Option<super::TlsFiles>,
    pub login: Login,
    pub db: i64,
}

/// Where Redis is.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    Unix(PathBuf),
    Server(Host),
    Sentinel {
        sentinels: Vec<Host>,
        service: String,
        login: Login,
    },
    Cluster(Vec<Host>),
}

/// A user and a password, each of which may be missing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    pub user: Option<String>,
    pub password: Option<String>,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.password.is_some() {
            "Login(…)"
        } else {
            "Login(none)"
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unix,
    Server,
    Sentinel,
    Cluster,
}

/// A URL's scheme: what it names, and whether TLS is spoken. The rest follows.
fn scheme(url: &str) -> Option<(Kind, bool, &str)> {
    if let Some((scheme, rest)) = url.split_once("://") {
        let (kind, tls) = match scheme {
            "redis" | "valkey" => (Kind::Server, false),
            "rediss" | "valkeys" => (Kind::Server, true),
            "unix" | "redis+unix" | "valkey+unix" => (Kind::Unix, false),
            "redis+sentinel" | "valkey+sentinel" => (Kind::Sentinel, false),
            "rediss+sentinel" | "valkeys+sentinel" => (Kind::Sentinel, true),
            "redis+cluster" | "valkey+cluster" => (Kind::Cluster, false),
            "rediss+cluster" | "valkeys+cluster" => (Kind::Cluster, true),
            _ => return None,
        };
        return Some((kind, tls, rest));
    }
    Some((Kind::Unix, false, url.strip_prefix("unix:")?))
}

/// Whether `url` names a Cluster.
pub fn is_cluster(url: &str) -> bool {
    scheme(url).is_some_and(|(kind, ..)| kind == Kind::Cluster)
}

/// Reads the URL of `config`.
///
/// # Errors
/// [`QueueError::Configuration`] says what is wrong and lists the forms.
pub fn read(config: &RedisConfig) -> Result<Target, QueueError> {
    parse(config).map_err(|why| {
        QueueError::Configuration(format!(
            "the Redis URL {:?} cannot be used: {why}. {URL_FORMS}",
            redact(&config.url)
        ))
    })
}

fn parse(config: &RedisConfig) -> Result<Target, String> {
    let (kind, tls, rest) = scheme(config.url.trim()).ok_or("its scheme is none of Redis'")?;
    if rest.contains('#') {
        return Err(
            "it has a #, which means nothing here; in a password it is written %23".to_owned(),
        );
    }
    let (body, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut parameters = parameters(query)?;
    let mut take = |name: &str| {
        let at = parameters.iter().position(|(known, _)| known == name)?;
        Some(parameters.swap_remove(at).1)
    };
    let mut tls_files = tls.then(|| config.tls.clone());
    if let Some(files) = &mut tls_files {
        for (name, file) in [
            ("ca", &mut files.ca),
            ("cert", &mut files.cert),
            ("key", &mut files.key),
        ] {
            if let Some(path) = take(name) {
                *file = Some(PathBuf::from(path));
            }
        }
    }
    let target = match kind {
        Kind::Unix => {
            let path = decode(body, "path")?;
            if !path.starts_with('/') || path.len() < 2 {
                return Err("it has no absolute path".to_owned());
            }
            Target {
                place: Place::Unix(PathBuf::from(path)),
                tls: None,
                login: Login {
                    user: take("user"),
                    password: take("pass"),
                },
                db: take("db").map_or(Ok(0), |db| number(&db))?,
            }
        }
        Kind::Server => {
            let (login, mut hosts, path) = authority(body, REDIS_PORT)?;
            if hosts.len() != 1 {
                return Err(
                    "it names several hosts, which only redis+sentinel and redis+cluster take"
                        .to_owned(),
                );
            }
            Target {
                place: Place::Server(hosts.remove(0)),
                tls: tls_files,
                login,
                db: database(path)?,
            }
        }
        Kind::Sentinel => {
            let (login, sentinels, path) = authority(body, SENTINEL_PORT)?;
            let (service, db) = path.split_once('/').unwrap_or((path, ""));
            if service.is_empty() {
                return Err("after the sentinels' hosts it lacks the name under which they watch the master, such as /mymaster".to_owned());
            }
            Target {
                place: Place::Sentinel {
                    sentinels,
                    service: decode(service, "service name")?,
                    login: Login {
                        user: take("sentinel_user").or_else(|| config.sentinel_user.clone()),
                        password: take("sentinel_password")
                            .or_else(|| config.sentinel_password.clone()),
                    },
                },
                tls: tls_files,
                login,
                db: database(db)?,
            }
        }
        Kind::Cluster => {
            let (login, seeds, path) = authority(body, REDIS_PORT)?;
            if database(path)? != 0 {
                return Err("a Cluster has no other database than 0".to_owned());
            }
            Target {
                place: Place::Cluster(seeds),
                tls: tls_files,
                login,
                db: 0,
            }
        }
    };
    if let Some((name, _)) = parameters.first() {
        let why = match name.as_str() {
            "ca" | "cert" | "key" if !tls => "is for TLS: begin the URL with rediss",
            "sentinel_user" | "sentinel_password" => "is for redis+sentinel://",
            _ => "is not known here",
        };
        return Err(format!("its parameter {name:?} {why}"));
    }
    Ok(target)
}

/// Splits `[USER:PASSWORD@]HOSTS[/PATH]`.
fn authority(body: &str, port: u16) -> Result<(Login, Vec<Host>, &str), String> {
    // The last @ ends the password, so that one that is not encoded is read as it is meant.
    let (login, place) = match body.rsplit_once('@') {
        Some((login, place)) => (login_of(login)?, place),
        None => (Login::default(), body),
    };
    let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
    let hosts = hosts
        .split(',')
        .map(|host| self::host(host, port))
        .collect::<Result<_, _>>()?;
    Ok((login, hosts, path.trim_end_matches('/')))
}

fn login_of(text: &str) -> Result<Login, String> {
    let (user, password) = text
        .split_once(':')
        .ok_or("it has a user without a password: write USER:PASSWORD@ or :PASSWORD@")?;
    Ok(Login {
        user: (!user.is_empty())
            .then(|| decode(user, "user"))
            .transpose()?,
        password: Some(decode(password, "password")?),
    })
}

/// Reads `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`.
pub fn host(text: &str, port: u16) -> Result<Host, String> {
    let (name, given) = if let Some(rest) = text.strip_prefix('[') {
        let (name, after) = rest
            .split_once(']')
            .ok_or_else(|| format!("the host {text:?} has no ]"))?;
        (name, after.strip_prefix(':'))
    } else {
        match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        }
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:%".contains(c);
    if name.is_empty() {
        return Err("a host is empty".to_owned());
    }
    if !name.chars().all(plain) {
        return Err(format!("{name:?} is no host"));
    }
    let port = match given {
        None => port,
        Some(text) => text
            .parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| format!("the port of {name:?} is not a number from 1 to 65535"))?,
    };
    Ok((name.to_owned(), port))
}

fn database(text: &str) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    number(text)
}

fn number(text: &str) -> Result<i64, String> {
    text.parse::<u16>()
        .map(i64::from)
        .map_err(|_| "its database is not a number".to_owned())
}

fn decode(text: &str, what: &str) -> Result<String, String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| format!("its {what} is not UTF-8"))
}

fn parameters(query: &str) -> Result<Vec<(String, String)>, String> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name, "parameters")?, decode(value, "parameters")?))
        })
        .collect()
}

/// The URL without its user name, passwords and parameters, for messages; of one that is malformed,
/// nothing before its last `@` is shown.
#[must_use]
pub fn redact(url: &str) -> String {
    let is_scheme = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'+');
    let scheme = url.find("://").filter(|&colon| is_scheme(&url[..colon]));
    let (scheme, rest) = url.split_at(scheme.map_or(0, |colon| colon + 3));
    let (body, query) = match rest.find(['?', '#']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    // An @ behind a ?: that is a parameter's, or the password has a ? in it. Nobody can tell.
    if query.contains('@') {
        return format!("{scheme}…");
    }
    let query = if query.is_empty() { "" } else { "?…" };
    match body.rfind('@') {
        Some(at) => format!("{scheme}…@{}{query}", &body[at + 1..]),
        None => format!("{scheme}{body}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::connection::TlsFiles;

    fn target(url: &str) -> Target {
        parse(&RedisConfig::new(url)).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn at(host: &str, port: u16) -> Host {
        (host.to_owned(), port)
    }

    #[test]
    fn a_password_in_the_url_is_never_shown() {
        for url in [
            "redis://user:secret@host:6379/0",
            "redis://:secret@h",
            "redis+sentinel://user:secret@h1:1,h2:2/name/0?sentinel_password=secret",
            "redis+sentinel://h1:1,h2:2/name?sentinel_password=an@secret",
            "rediss+cluster://:secret@h1,h2:7000",
            "redis://:a?secret@h",
            "redis://:a#secret@h",
            "redis://:a/secret@h",
            "unix:///run/s?pass=secret",
        ] {
            assert!(!redact(url).contains("secret"), "{}", redact(url));
            let config = RedisConfig {
                sentinel_password: Some("secret".to_owned()),
                ..RedisConfig::new(url)
            };
            assert!(!format!("{config:?}").contains("secret"));
            if let Err(error) = read(&config) {
                assert!(!error.to_string().contains("secret"), "{error}");
            }
        }
        for url in ["redis//user:secret@h", "user:secret@h:1", "secret@://h@"] {
            assert!(!redact(url).contains("secret"), "{}", redact(url));
        }
        assert_eq!(redact("redis://h:1"), "redis://h:1");
        assert_eq!(redact("redis://u:p@h:1/0"), "redis://…@h:1/0");
    }

    #[test]
    fn each_form_of_the_url_is_read() {
        let one = target("redis://a%40b:p%2Fw@host/3");
        assert_eq!(one.place, Place::Server(at("host", 6379)));
        assert_eq!((one.login.user.as_deref(), one.db), (Some("a@b"), 3));
        assert_eq!(one.login.password.as_deref(), Some("p/w"));
        assert!(one.tls.is_none());

        let secure = target("rediss://:p@[::1]:7000?ca=/ca.pem&cert=/c.pem&key=/k.pem");
        assert_eq!(secure.place, Place::Server(at("::1", 7000)));
        assert_eq!(secure.login.user, None);
        let file = |path: &str| Some(PathBuf::from(path));
        let files = TlsFiles {
            ca: file("/ca.pem"),
            cert: file("/c.pem"),
            key: file("/k.pem"),
        };
        assert_eq!(secure.tls, Some(files));

        for url in [
            "unix:/run/r.s",
            "unix:///run/r.s",
            "redis+unix:///run/r.s?db=0",
        ] {
            assert_eq!(target(url).place, Place::Unix("/run/r.s".into()));
        }

        let watched =
            target("redis+sentinel://u:p@s1,s2:5000/my%20master/2?sentinel_password=q%26r");
        let Place::Sentinel {
            sentinels,
            service,
            login,
        } = watched.place
        else {
            panic!("not a sentinel");
        };
        assert_eq!(sentinels, [at("s1", 26379), at("s2", 5000)]);
        assert_eq!((service.as_str(), watched.db), ("my master", 2));
        assert_eq!(login.password.as_deref(), Some("q&r"));

        let cluster = target("redis+cluster://u:p@n1:7000,n2");
        assert_eq!(
            cluster.place,
            Place::Cluster(vec![at("n1", 7000), at("n2", 6379)])
        );
        assert!(RedisConfig::new("rediss+cluster://n1").is_cluster());
        assert!(!RedisConfig::new("redis://n1").is_cluster());
    }

    #[test]
    fn a_wrong_url_is_refused_with_the_reason_and_all_right_forms() {
        for (url, why) in [
            ("http://user:secret@host", "scheme"),
            ("host:6379", "scheme"),
            ("redis://", "host is empty"),
            ("redis://secret@host", "without a password"),
            ("redis://h:port", "port"),
            ("redis://h:0", "port"),
            ("redis://h1,h2", "several hosts"),
            ("redis://h/x", "database"),
            ("redis://h#insecure", "#"),
            ("redis://h?ca=/x", "rediss"),
            ("redis://h?retries=2", "\"retries\""),
            ("unix:run/x", "absolute path"),
            ("redis+sentinel://h1,h2", "master"),
            ("redis+sentinel://h1,/m", "host is empty"),
            ("redis+cluster://h1/3", "database"),
            ("redis+cluster://h1 h2", "is no host"),
        ] {
            let error = read(&RedisConfig::new(url)).unwrap_err().to_string();
            assert!(
                error.contains(why) && error.contains(URL_FORMS),
                "{url}: {error}"
            );
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
