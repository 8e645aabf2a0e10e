//! Defines OpenLDAP with a small directory of people and groups.

use std::{fs, path::Path};

use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    component::Component,
    error::Error,
    port::Port,
    process::Launch,
    service::{Readiness, Service, lifecycle},
};

/// People as (uid, given name, surname, groups); each one's password is `UID-password`.
const PEOPLE: [(&str, &str, &str, &[&str]); 3] = [
    ("alice", "Alice", "Archer", &["platform", "developers"]),
    ("bob", "Bob", "Baker", &["developers"]),
    ("carol", "Carol", "Cooper", &[]),
];

const GROUPS: [&str; 2] = ["platform", "developers"];

/// A running slapd with the base `dc=example,dc=org`.
///
/// Under `ou=people` are `uid=alice`, `uid=bob` and `uid=carol`, with mail addresses at example.org
/// and passwords `alice-password` and so on; under `ou=groups`, as `groupOfNames`, `cn=platform`
/// (alice) and `cn=developers` (alice, bob). carol is in no group.
#[derive(Debug)]
pub struct OpenLdap {
    service: Service,
    port: Port,
    _dir: TempDir,
}

impl OpenLdap {
    /// The directory's root.
    pub const BASE: &str = "dc=example,dc=org";
    /// Who may read and write everything.
    pub const ADMIN: &str = "cn=admin,dc=example,dc=org";
    /// The password of [`ADMIN`](Self::ADMIN).
    pub const ADMIN_PASSWORD: &str = "admin-password";

    /// Loads the directory and starts slapd on it.
    ///
    /// # Errors
    /// If slapd is missing, or refuses the directory, or does not accept connections.
    pub async fn start() -> Result<Self, Error> {
        let program = Component::OpenLdap.find("slapd")?;
        let dir = tempfile::tempdir().map_err(Error::io("a directory for slapd"))?;
        let port = Port::free()?;
        let config = dir.path().join("slapd.conf");
        let database = dir.path().join("database");
        fs::create_dir(&database).map_err(Error::io(database.display().to_string()))?;
        fs::write(&config, configuration(dir.path())).map_err(Error::io(config.display().to_string()))?;
        load(dir.path(), &config).await?;
        let launch = Launch::new("slapd", program, dir.path())
            .args(["-h", &format!("ldap://{}", port.address())])
            .arg("-f")
            .arg(config)
            // Any debug level keeps slapd in the foreground; this one says what it serves and refuses.
            .args(["-d", "stats"]);
        let readiness = Readiness::Accepts(port.address());
        Ok(Self {
            service: Service::start(launch, readiness).await?,
            port,
            _dir: dir,
        })
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        self.port.address().to_string()
    }

    /// Changes the directory by LDIF change records, as the administrator (`ldapmodify`).
    ///
    /// # Errors
    /// If ldapmodify is missing or a change is refused.
    pub async fn modify(&self, ldif: &str) -> Result<(), Error> {
        let program = Component::OpenLdap.find("ldapmodify")?;
        let mut command = Command::new(program);
        command.args(["-x", "-H", &format!("ldap://{}", self.address())]);
        command.args(["-D", Self::ADMIN, "-w", Self::ADMIN_PASSWORD, "-f"]);
        let file = tempfile::NamedTempFile::new().map_err(Error::io("a file for ldapmodify"))?;
        fs::write(file.path(), ldif).map_err(Error::io(file.path().display().to_string()))?;
        succeed("ldapmodify", command.arg(file.path())).await
    }
}

lifecycle!(OpenLdap);

async fn load(dir: &Path, config: &Path) -> Result<(), Error> {
    let ldif = dir.join("directory.ldif");
    fs::write(&ldif, directory()).map_err(Error::io(ldif.display().to_string()))?;
    let mut slapadd = Command::new(Component::OpenLdap.find("slapadd")?);
    succeed("slapadd", slapadd.arg("-f").arg(config).arg("-l").arg(ldif)).await
}

async fn succeed(name: &str, command: &mut Command) -> Result<(), Error> {
    let output = command
        .kill_on_drop(true)
        .output()
        .await
        .map_err(Error::io(format!("starting {name}")))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::Command {
        command: name.to_owned(),
        status: output.status,
        stderr,
    })
}

fn configuration(dir: &Path) -> String {
    let dir = dir.display();
    let (base, admin, password) = (OpenLdap::BASE, OpenLdap::ADMIN, OpenLdap::ADMIN_PASSWORD);
    format!(
        "include /etc/ldap/schema/core.schema\n\
         include /etc/ldap/schema/cosine.schema\n\
         include /etc/ldap/schema/inetorgperson.schema\n\
         modulepath /usr/lib/ldap\n\
         moduleload back_mdb\n\
         pidfile {dir}/slapd.pid\n\
         argsfile {dir}/slapd.args\n\
         database mdb\n\
         maxsize 16777216\n\
         suffix \"{base}\"\n\
         rootdn \"{admin}\"\n\
         rootpw {password}\n\
         directory {dir}/database\n\
         access to attrs=userPassword by anonymous auth by * none\n\
         access to * by * read\n"
    )
}

/// The directory as LDIF (RFC 2849).
fn directory() -> String {
    let base = OpenLdap::BASE;
    let mut ldif = format!(
        "dn: {base}\nobjectClass: dcObject\nobjectClass: organization\no: Example\ndc: example\n\n\
         dn: ou=people,{base}\nobjectClass: organizationalUnit\nou: people\n\n\
         dn: ou=groups,{base}\nobjectClass: organizationalUnit\nou: groups\n\n"
    );
    for (uid, given, surname, _) in PEOPLE {
        ldif += &format!(
            "dn: uid={uid},ou=people,{base}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {given} {surname}\n\
             givenName: {given}\nsn: {surname}\nmail: {uid}@example.org\nuserPassword: {uid}-password\n\n"
        );
    }
    for group in GROUPS {
        ldif += &format!("dn: cn={group},ou=groups,{base}\nobjectClass: groupOfNames\ncn: {group}\n");
        for (uid, _, _, groups) in PEOPLE {
            if groups.contains(&group) {
                ldif += &format!("member: uid={uid},ou=people,{base}\n");
            }
        }
        ldif += "\n";
    }
    ldif
}
