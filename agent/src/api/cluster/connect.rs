//! A tunnel to another machine's API: bytes, no more. TLS is between its two ends, so that the machine there sees who asks, and
//! nothing here can pretend to be anybody.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use ferrite_cluster::keys::Key;
use ferrite_cluster::names::MachineId;
use ferrite_cluster::records::{Machine, decode};
use ferrite_cluster::store::ClusterStore;
use ferrite_schema::api::ApiError;
use ferrite_schema::names::API_PORT;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

use super::machines::{id_of, unknown};
use crate::api::error::Failure;
use crate::api::extract::Path;
use crate::api::streams::{Heard, carry};
use crate::node::Node;

/// What a machine gets to take a connection at one of its addresses.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most of its addresses that are tried.
const ADDRESSES_MAX: usize = 4;

#[utoipa::path(
    post,
    path = "/v1/machines/{id}/connect",
    tag = "cluster",
    params(("id" = String, Path, description = "ID of the machine")),
    responses(
        (status = 101, description = "The connection carries the bytes of one to that machine's API from now on: TLS begins anew in it"),
        (status = "default", description = "Refused or not possible", body = ApiError)
    ),
)]
pub(in crate::api) async fn connect(
    State(node): State<Arc<Node>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let heard = Heard::of(request).await?;
    let cluster = super::cluster(&node)?;
    let id = id_of(&id)?;
    let addresses = if id == *cluster.machine() {
        vec![Ipv4Addr::LOCALHOST.into()]
    } else {
        addresses(&super::store(&node)?, &id).await?
    };
    heard.asks_for_upgrade()?;
    let inner = reach(&id, &addresses, API_PORT).await?;
    carry(&node.streams, heard.upgrade, inner, ())
}

async fn addresses<S: ClusterStore>(store: &S, id: &MachineId) -> Result<Vec<IpAddr>, Failure> {
    let key = Key::Machine(id.clone());
    let (_, entry) = store.get(&key.bytes()).await?;
    let entry = entry.ok_or_else(|| unknown(id))?;
    let record: Machine = decode(&key, &entry.value).map_err(|refused| {
        let why = format!("the record of machine {id} cannot be understood: {refused}");
        Failure::new(StatusCode::CONFLICT, why)
    })?;
    Ok(record.addresses)
}

/// Whichever address takes a connection first.
async fn reach(id: &MachineId, addresses: &[IpAddr], port: u16) -> Result<TcpStream, Failure> {
    let tries = addresses.iter().take(ADDRESSES_MAX).map(|address| async move {
        match tokio::time::timeout(PATIENCE, TcpStream::connect((*address, port))).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(format!("{address}: {error}")),
            Err(_) => Err(format!("{address}: nothing within {} s", PATIENCE.as_secs())),
        }
    });
    let mut tries: FuturesUnordered<_> = tries.collect();
    let mut tried = Vec::new();
    while let Some(reached) = tries.next().await {
        match reached {
            Ok(stream) => {
                let watched = crate::api::server::watch_over(&stream);
                watched.map_err(|error: io::Error| Failure::internal(&error))?;
                return Ok(stream);
            }
            Err(why) => tried.push(why),
        }
    }
    let why = match tried.is_empty() {
        true => format!("machine {id} has no address"),
        false => format!("machine {id} is not reached ({})", tried.join("; ")),
    };
    Err(Failure::new(StatusCode::BAD_GATEWAY, why))
}
