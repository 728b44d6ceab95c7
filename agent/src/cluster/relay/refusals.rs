//! Whom a relay does not let in, and what it says then.

use std::fmt;

use ferrite_cluster::keys::Key;
use ferrite_cluster::protocol::Message;
use ferrite_cluster::records::{Cluster, Machine};
use ferrite_cluster::store::ClusterStore;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{End, Link};

impl<S: ClusterStore, C: AsyncRead + AsyncWrite> Link<'_, S, C> {
    pub(super) async fn refuse<T>(&mut self, why: String) -> Result<T, End> {
        self.says.say(&Message::Refused { why: why.clone(), copy: false, revoked: false }).await?;
        Err(End::Refused(why))
    }

    /// Refuses a machine that is alive in another boot: that was restarted, and is let in when its lease has ended, or it is
    /// another one with a copy of its disk.
    pub(super) async fn refuse_boot<T>(&mut self, known: Option<&Machine>) -> Result<T, End> {
        let id = &self.node;
        let before = known.and_then(|machine| machine.hardware.as_deref());
        let copy = matches!((before, self.hardware.as_deref()), (Some(before), Some(now)) if before != now);
        let why = match copy {
            true => format!(
                "machine {id} is alive, and this is another one with its ID: a copy of its disk. Make STATE of the copy anew (`ferrite machine state recreate`)"
            ),
            false => format!(
                "machine {id} is alive in another boot: it was restarted and is let in within seconds, or this is a copy of its disk, which must be made another machine (`ferrite machine state recreate`)"
            ),
        };
        self.says.say(&Message::Refused { why: why.clone(), copy, revoked: false }).await?;
        Err(if copy { End::Copy(why) } else { End::Refused(why) })
    }
}

impl<S: ClusterStore + fmt::Debug, C: AsyncRead + AsyncWrite> Link<'_, S, C> {
    /// Refuses a machine that was forgotten, or whose certificate was revoked.
    pub(super) async fn refuse_revoked(&mut self) -> Result<(), End> {
        let (store, id) = (&self.relay.store, &self.node);
        // Whatever is there says that it is so, understood or not.
        let why = if store.get(&Key::Forgotten(id.clone()).bytes()).await?.1.is_some() {
            format!(
                "the cluster has forgotten machine {id}: make its STATE anew (`ferrite machine reset`), so that it comes as another machine"
            )
        } else if let Some(serial) = &self.serial
            && store.get(&Key::Revoked(serial.clone()).bytes()).await?.1.is_some()
        {
            format!(
                "the certificate of machine {id} was revoked: make its STATE anew (`ferrite machine reset`), so that it comes as another machine with a token"
            )
        } else {
            return Ok(());
        };
        self.says.say(&Message::Refused { why: why.clone(), copy: false, revoked: true }).await?;
        Err(End::Refused(why))
    }

    /// Refuses a machine whose version would make another network of the cluster's.
    pub(super) async fn refuse_level(&mut self, level: u32) -> Result<(), End> {
        let cluster = self.read::<Cluster>(&Key::Cluster).await?;
        let least = cluster.map_or(1, |cluster| cluster.networks.least_level());
        if level >= least {
            return Ok(());
        }
        let why = format!(
            "the cluster's network is for machines of level {least} ([cluster.network] transport), and machine {} is of level {level}: update it",
            self.node
        );
        self.refuse(why).await
    }
}
