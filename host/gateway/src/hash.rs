//! `witgate hash`: credentials become what a configuration may hold.

use std::io::{BufRead, IsTerminal};

use anyhow::{Context, ensure};
use secrecy::{ExposeSecret, SecretString};

use crate::cli::HashCommand;

pub(crate) fn run(command: &HashCommand) -> anyhow::Result<()> {
    match command {
        HashCommand::Password => {
            if std::io::stdin().is_terminal() {
                eprintln!("Password (it will be shown as you type; pipe it in to avoid that):");
            }
            let mut line = String::new();
            std::io::stdin()
                .lock()
                .read_line(&mut line)
                .context("no password on standard input")?;
            let password = SecretString::from(line.trim_end_matches(['\r', '\n']));
            ensure!(
                !password.expose_secret().is_empty(),
                "the password on standard input is empty"
            );
            println!("{}", witgate_identity::hash_password(&password)?);
        }
        HashCommand::Token => {
            let token = witgate_identity::generate_token();
            println!("token:  {}", token.expose_secret());
            println!("sha256: {}", witgate_identity::hash_token(&token));
        }
    }
    Ok(())
}
