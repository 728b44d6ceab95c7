//! Who may ask for what: the one place where routes have their roles. A route that is not here is for admins alone, and fails a
//! test.

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use ferrite_schema::cluster::Role;

use super::error::Failure;
use super::peer::Peer;

/// The least that one must be for a request. Certificates of nodes and of etcd's peers open nothing here: nodes speak by a
/// protocol of their own, and a tunnel through a node is asked for by the person at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Least {
    /// Looks, at what has no secrets.
    Reader,
    /// Runs units and machines.
    Operator,
    /// May what cannot be taken back, and what everything else hangs on.
    Admin,
}

use Least::{Admin, Operator, Reader};

/// All requests, by path. Output of units and events are looked at, since whoever looks after units must see them; documents of
/// units and images may have passwords in them.
const ROUTES: &[(&str, &str, Least)] = &[
    ("GET", "/metrics", Reader),
    ("GET", "/v1/boot", Reader),
    ("GET", "/v1/cluster", Reader),
    ("GET", "/v1/cluster/services", Reader),
    // Whoever may make one brings machines in.
    ("GET", "/v1/cluster/tokens", Admin),
    ("PUT", "/v1/cluster/tokens/{digest}", Admin),
    ("DELETE", "/v1/cluster/tokens/{digest}", Admin),
    // Whoever may give certificates may be anybody.
    ("GET", "/v1/cluster/access", Admin),
    ("POST", "/v1/cluster/access", Admin),
    ("DELETE", "/v1/cluster/access/{serial}", Admin),
    // Readers are shown them without documents.
    ("GET", "/v1/cluster/units", Reader),
    ("GET", "/v1/cluster/units/{name}", Reader),
    ("PUT", "/v1/cluster/units/{name}", Operator),
    ("PATCH", "/v1/cluster/units/{name}", Operator),
    ("DELETE", "/v1/cluster/units/{name}", Operator),
    // Whoever reaches etcd may do everything.
    ("GET", "/v1/etcd", Admin),
    ("GET", "/v1/etcd/members", Admin),
    ("PATCH", "/v1/etcd/members", Admin),
    ("GET", "/v1/etcd/recovery", Admin),
    ("POST", "/v1/etcd/recovery", Admin),
    ("GET", "/v1/etcd/snapshot", Admin),
    ("POST", "/v1/etcd/connect", Admin),
    ("GET", "/v1/events", Reader),
    ("GET", "/v1/images", Reader),
    ("POST", "/v1/images", Operator),
    ("DELETE", "/v1/images", Operator),
    ("GET", "/v1/images/export", Operator),
    ("POST", "/v1/images/prune", Operator),
    ("POST", "/v1/images/pull", Operator),
    ("GET", "/v1/machine", Reader),
    ("POST", "/v1/machine/poweroff", Operator),
    ("POST", "/v1/machine/reboot", Operator),
    ("GET", "/v1/machine/state", Reader),
    ("POST", "/v1/machine/state/check", Operator),
    // All that the node has goes, the cluster's keys with it.
    ("POST", "/v1/machine/state/recreate", Admin),
    ("POST", "/v1/machine/reset", Admin),
    ("GET", "/v1/machines", Reader),
    ("PATCH", "/v1/machines/{id}", Operator),
    // Its certificates are revoked.
    ("DELETE", "/v1/machines/{id}", Admin),
    // It changes nothing: at its other end the same certificate is shown.
    ("POST", "/v1/machines/{id}/connect", Reader),
    ("GET", "/v1/openapi.json", Reader),
    ("GET", "/v1/services", Reader),
    ("GET", "/v1/slots", Reader),
    ("POST", "/v1/slots/mark-good", Operator),
    ("POST", "/v1/slots/rollback", Operator),
    ("POST", "/v1/slots/stage", Operator),
    ("GET", "/v1/stats", Reader),
    ("GET", "/v1/units", Reader),
    ("GET", "/v1/units/{name}", Reader),
    ("PUT", "/v1/units/{name}", Operator),
    ("DELETE", "/v1/units/{name}", Operator),
    ("GET", "/v1/units/{name}/definition", Operator),
    ("POST", "/v1/units/{name}/attach", Operator),
    ("POST", "/v1/units/{name}/exec", Operator),
    ("POST", "/v1/units/{name}/files", Operator),
    ("POST", "/v1/units/{name}/load", Operator),
    ("GET", "/v1/units/{name}/logs", Reader),
    ("POST", "/v1/units/{name}/restart", Operator),
    ("POST", "/v1/units/{name}/start", Operator),
    ("POST", "/v1/units/{name}/stop", Operator),
    ("POST", "/v1/units/{name}/unload", Operator),
    ("GET", "/v1/volumes", Reader),
    ("DELETE", "/v1/volumes/{name}", Operator),
];

/// What is in documents of units, and in images, is not for everybody who may look.
pub(super) fn sees_documents(role: Role) -> bool {
    rank(role) >= Some(Operator)
}

/// Lets nobody through who may not ask. What there is no route for is answered to everybody.
pub(super) fn guarded<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.route_layer(from_fn(guard))
}

async fn guard(request: Request, next: Next) -> Response {
    let role = request.extensions().get::<Peer>().map(|peer| peer.role);
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    match judge(role, request.method(), path.unwrap_or_default()) {
        Ok(()) => next.run(request).await,
        Err(why) => Failure::new(StatusCode::FORBIDDEN, why).into_response(),
    }
}

/// Whether somebody in this role, or in none, may ask this of the route.
fn judge(role: Option<Role>, method: &Method, path: &str) -> Result<(), String> {
    let least = least(method, path).unwrap_or(Admin);
    if role.and_then(rank) >= Some(least) {
        return Ok(());
    }
    let (who, whose) = match least {
        Reader => ("people", "a person's"),
        Operator => ("operators and admins of the cluster", "an operator's"),
        Admin => ("admins of the cluster", "an admin's"),
    };
    let theirs = role.map_or("none", Role::word);
    Err(format!(
        "only {who} may do this, and your certificate's role is {theirs}: use a context with {whose} certificate"
    ))
}

const fn rank(role: Role) -> Option<Least> {
    match role {
        Role::Admin => Some(Admin),
        Role::Operator => Some(Operator),
        Role::Reader => Some(Reader),
        Role::Node | Role::Peer => None,
    }
}

fn least(method: &Method, path: &str) -> Option<Least> {
    // A route that answers GET answers HEAD.
    let method = if method == Method::HEAD { Method::GET } else { method.clone() };
    let found = ROUTES.iter().find(|(one, route, _)| method == *one && path == *route);
    found.map(|(_, _, least)| *least)
}

#[cfg(test)]
#[path = "roles_tests.rs"]
mod tests;
