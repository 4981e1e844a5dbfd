//! What the client shows to the gateway, and when it is asked for anew.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use busgate_core::{Error, Result};
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A bearer token or API key. It never shows in `Debug`.
#[derive(Clone)]
pub struct Credential {
    header: HeaderValue,
    expires: Option<Instant>,
}

impl Credential {
    /// The token that goes into `authorization: Bearer …`.
    ///
    /// # Errors
    /// `invalid` when it is empty or not visible ASCII.
    pub fn bearer(token: impl AsRef<str>) -> Result<Self> {
        let token = token.as_ref();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::invalid("a credential must be visible ASCII characters"));
        }
        let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| Error::invalid("a credential must be visible ASCII characters"))?;
        header.set_sensitive(true);
        Ok(Self { header, expires: None })
    }

    /// Says that it is good for this long from now; the provider is asked again shortly before.
    #[must_use]
    pub fn valid_for(mut self, duration: Duration) -> Self {
        // A tenth of its time, so that a call under way does not outlive it.
        self.expires = Some(Instant::now() + duration.saturating_sub(duration / 10));
        self
    }

    /// The header's value.
    pub(crate) fn header(&self) -> &HeaderValue {
        &self.header
    }

    pub(crate) fn is_good(&self) -> bool {
        self.expires.is_none_or(|expires| Instant::now() < expires)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Gives credentials: asked when there are none yet, when the last ones expire, and once when the gateway refuses them.
#[async_trait]
pub trait CredentialsProvider: fmt::Debug + Send + Sync + 'static {
    /// The credential to show from now on.
    ///
    /// # Errors
    /// Whatever keeps it from giving one; a transient kind is tried again.
    async fn credential(&self) -> Result<Credential>;
}

/// One key for ever.
#[derive(Clone, Debug)]
pub struct ApiKey(Credential);

impl ApiKey {
    /// The key, as the gateway's configuration has it.
    ///
    /// # Errors
    /// `invalid` when it is empty or not visible ASCII.
    pub fn new(key: impl AsRef<str>) -> Result<Self> {
        Credential::bearer(key).map(Self)
    }
}

#[async_trait]
impl CredentialsProvider for ApiKey {
    async fn credential(&self) -> Result<Credential> {
        Ok(self.0.clone())
    }
}

/// The provider and what it gave last.
#[derive(Debug)]
pub(crate) struct Wallet {
    provider: Option<Arc<dyn CredentialsProvider>>,
    held: Mutex<Option<Credential>>,
    /// One asks, the others wait for what it gets.
    asking: tokio::sync::Mutex<()>,
}

impl Wallet {
    pub(crate) fn new(provider: Option<Arc<dyn CredentialsProvider>>) -> Self {
        Self { provider, held: Mutex::default(), asking: tokio::sync::Mutex::default() }
    }

    /// What to show, if anything.
    ///
    /// # Errors
    /// The provider's.
    pub(crate) async fn show(&self) -> Result<Option<Credential>> {
        let Some(provider) = &self.provider else { return Ok(None) };
        if let Some(held) = self.held() {
            return Ok(Some(held));
        }
        let _asking = self.asking.lock().await;
        if let Some(held) = self.held() {
            return Ok(Some(held));
        }
        let fresh = provider.credential().await?;
        *self.held.lock() = Some(fresh.clone());
        Ok(Some(fresh))
    }

    /// The gateway refused `shown`; whether showing what the provider gives next may help.
    ///
    /// # Errors
    /// The provider's.
    pub(crate) async fn refused(&self, shown: Option<&Credential>) -> Result<bool> {
        let Some(shown) = shown else { return Ok(false) };
        self.forget(shown);
        let fresh = self.show().await?;
        Ok(fresh.is_some_and(|fresh| fresh.header != shown.header))
    }

    /// Asks again next time, unless somebody did already.
    pub(crate) fn forget(&self, shown: &Credential) {
        let mut held = self.held.lock();
        if held.as_ref().is_some_and(|held| held.header == shown.header) {
            *held = None;
        }
    }

    /// What it gave last, while that is good.
    pub(crate) fn held(&self) -> Option<Credential> {
        self.held.lock().clone().filter(Credential::is_good)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Gives `key-1`, `key-2`, …
    #[derive(Debug, Default)]
    struct Counting {
        given: AtomicU32,
        valid: Option<Duration>,
    }

    #[async_trait]
    impl CredentialsProvider for Counting {
        async fn credential(&self) -> Result<Credential> {
            tokio::task::yield_now().await;
            let number = self.given.fetch_add(1, Ordering::Relaxed) + 1;
            let credential = Credential::bearer(format!("key-{number}"))?;
            Ok(match self.valid {
                Some(valid) => credential.valid_for(valid),
                None => credential,
            })
        }
    }

    fn wallet(valid: Option<Duration>) -> Wallet {
        Wallet::new(Some(Arc::new(Counting { given: AtomicU32::default(), valid })))
    }

    async fn shown(wallet: &Wallet) -> String {
        wallet.show().await.unwrap().unwrap().header.to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn those_who_need_one_at_once_ask_once() {
        let wallet = wallet(None);
        let (one, other) = tokio::join!(shown(&wallet), shown(&wallet));
        assert_eq!((one.as_str(), other.as_str()), ("Bearer key-1", "Bearer key-1"));
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_asked_again_before_the_last_one_expires() {
        let wallet = wallet(Some(Duration::from_secs(100)));
        assert_eq!(shown(&wallet).await, "Bearer key-1");
        tokio::time::advance(Duration::from_secs(89)).await;
        assert_eq!(shown(&wallet).await, "Bearer key-1");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(shown(&wallet).await, "Bearer key-2");
    }

    #[tokio::test]
    async fn a_refused_one_is_asked_for_again_once() {
        let wallet = wallet(None);
        let first = wallet.show().await.unwrap();
        assert!(wallet.refused(first.as_ref()).await.unwrap());
        assert!(wallet.refused(first.as_ref()).await.unwrap(), "somebody else asked already");
        assert_eq!(shown(&wallet).await, "Bearer key-2");
    }

    #[tokio::test]
    async fn a_key_for_ever_is_not_shown_twice() {
        let wallet = Wallet::new(Some(Arc::new(ApiKey::new("secret").unwrap())));
        let shown = wallet.show().await.unwrap();
        assert!(!wallet.refused(shown.as_ref()).await.unwrap());
        assert!(!Wallet::new(None).refused(None).await.unwrap());
    }

    #[test]
    fn secrets_never_show() {
        let key = ApiKey::new("hunter2-hunter2").unwrap();
        assert!(!format!("{key:?} {:?}", key.0).contains("hunter2"));
        assert!(!format!("{:?}", Credential::bearer("hunter2").unwrap().header()).contains("hunter2"));
        for bad in ["", "a b", "ä", "a\n"] {
            assert!(ApiKey::new(bad).is_err());
        }
    }
}
