//! What the node's links have to say to whoever owns the node.

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

/// Changes each time that the node's name servers or domains are others.
pub type Renamed = watch::Receiver<()>;

/// One piece of news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A person should know.
    Warning(String),
    /// A link waits for an address.
    Waits {
        /// Its name.
        link: String,
    },
    /// A link has an address.
    Addressed {
        /// Its name.
        link: String,
    },
    /// A link has none any more.
    Lost {
        /// Its name.
        link: String,
    },
    /// A person should know, as long as it stands.
    Standing {
        /// What it is about: what is said later about the same takes its place.
        about: String,
        /// Absent where there is nothing to know any more.
        warning: Option<String>,
    },
}

/// Where news is told. Each link tells little, and only when something changed: the queue needs no bound.
#[derive(Debug, Clone)]
pub struct Teller(UnboundedSender<News>);

impl Teller {
    pub(crate) fn tell(&self, news: News) {
        // Whoever does not listen any more needs no news.
        drop(self.0.send(news));
    }

    /// Says what stands about something, or that nothing does.
    pub(crate) fn stand(&self, about: String, warning: Option<String>) {
        self.tell(News::Standing { about, warning });
    }

    pub(crate) fn warn(&self, warning: String) {
        self.tell(News::Warning(warning));
    }
}

pub(crate) fn channel() -> (Teller, UnboundedReceiver<News>) {
    let (sender, receiver) = unbounded_channel();
    (Teller(sender), receiver)
}
