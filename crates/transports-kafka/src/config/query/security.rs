//! The options that secure the connection, which must fit together.

use std::{fs, path::PathBuf};

use busgate_core::{
    Error, Result,
    url::{UrlOption, percent_decoded},
};

use crate::config::security::{Mechanism, Sasl, Tls};

/// What is said of the connection's security, before it is known to fit together.
#[derive(Default)]
pub(super) struct Security {
    tls: Option<bool>,
    files: Tls,
    has_files: bool,
    mechanism: Option<Mechanism>,
    user: Option<String>,
    password: Option<String>,
}

impl Security {
    /// Takes the user and the password in that stand before the host.
    pub(super) fn log_in(&mut self, login: &str) -> Result<()> {
        let (user, password) = login.split_once(':').map_or((login, None), |(user, word)| (user, Some(word)));
        self.user = Some(percent_decoded("the user of the URL", user)?);
        self.password = password.map(|word| percent_decoded("the password of the URL", word)).transpose()?;
        Ok(())
    }

    /// Takes an option in, if it is one of these.
    pub(super) fn set(&mut self, option: &UrlOption) -> Result<bool> {
        match option.name() {
            "security" => self.tls = Some(option.choice(&[("plaintext", false), ("tls", true)])?),
            "sasl" => {
                let choices = [
                    ("plain", Mechanism::Plain),
                    ("scram-sha-256", Mechanism::ScramSha256),
                    ("scram-sha-512", Mechanism::ScramSha512),
                ];
                self.mechanism = Some(option.choice(&choices)?);
            }
            "user" => once(option, &mut self.user, option.text().to_owned())?,
            "password" => once(option, &mut self.password, option.text().to_owned())?,
            "password_file" => {
                let secret = option.secret(fs::read_to_string(option.text()))?;
                once(option, &mut self.password, secret)?;
            }
            "tls_ca" => self.file(option.text(), |tls| &mut tls.ca),
            "tls_cert" => self.file(option.text(), |tls| &mut tls.cert),
            "tls_key" => self.file(option.text(), |tls| &mut tls.key),
            "tls_verify" => {
                self.files.any_host = option.choice(&[("full", false), ("ca", true)])?;
                self.has_files = true;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn file(&mut self, path: &str, field: impl FnOnce(&mut Tls) -> &mut Option<PathBuf>) {
        *field(&mut self.files) = Some(path.into());
        self.has_files = true;
    }

    /// What the connection is to be, now that all is said.
    ///
    /// # Errors
    /// `invalid` when it does not fit together.
    pub(super) fn finish(self) -> Result<(Option<Tls>, Option<Sasl>)> {
        if self.tls == Some(false) && self.has_files {
            return Err(Error::invalid("transport options `tls_…` need `security=tls`"));
        }
        if self.files.cert.is_some() != self.files.key.is_some() {
            return Err(Error::invalid("transport options `tls_cert` and `tls_key` go together"));
        }
        let tls = (self.tls == Some(true) || self.has_files).then_some(self.files);
        let sasl = match (self.mechanism, self.user, self.password) {
            (None, None, None) => None,
            (mechanism, Some(user), Some(password)) => {
                Some(Sasl { mechanism: mechanism.unwrap_or(Mechanism::Plain), user, password })
            }
            _ => return Err(Error::invalid("transport options `sasl`, `user` and `password` go together")),
        };
        Ok((tls, sasl))
    }
}

fn once(option: &UrlOption, field: &mut Option<String>, value: String) -> Result<()> {
    if field.is_some() {
        return Err(option.refused("said once, whether here or before the host"));
    }
    *field = Some(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KafkaConfig;

    #[test]
    fn a_login_is_read_and_never_shown() {
        let config: KafkaConfig =
            "kafka://us%40er:s%3Acret@h:1?security=tls&sasl=scram-sha-512".parse().unwrap();
        let sasl = config.sasl.clone().unwrap();
        assert_eq!((sasl.user.as_str(), sasl.password.as_str()), ("us@er", "s:cret"));
        assert_eq!((sasl.mechanism, config.tls.is_some()), (Mechanism::ScramSha512, true));
        assert!(!format!("{config} {config:?}").contains("cret"));
    }
}
