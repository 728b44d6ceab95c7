//! Services: what the catalogue says, and instances that are not among its answers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use ferrite_cluster::catalogue::{Event, View};
use ferrite_cluster::engine::Presence;
use ferrite_cluster::names::MachineId;
use ferrite_cluster::records::{InstanceState, ServicePort, Transport};
use ferrite_schema::api::{ApiError, ServiceAnswers, ServiceInstance};
use serde::Deserialize;
use utoipa::IntoParams;

use super::picture::Picture;
use crate::api::error::Failure;
use crate::api::extract::Query;
use crate::api::following;
use crate::cluster::Heard;
use crate::node::Node;

#[utoipa::path(
    get,
    path = "/v1/cluster/services",
    tag = "cluster",
    responses((status = 200, description = "All instances of services, by name", body = Vec<ServiceInstance>), (status = "default", description = "Refused or not possible", body = ApiError)),
)]
pub(in crate::api) async fn list(
    State(node): State<Arc<Node>>,
) -> Result<Json<Vec<ServiceInstance>>, Failure> {
    Ok(Json(services(&super::picture(&super::store(&node)?).await?)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct AnswersQuery {
    /// Go on as it changes.
    #[serde(default)]
    follow: bool,
}

/// What this node answers units that ask for services by name; it needs no member for that.
#[utoipa::path(
    get,
    path = "/v1/services",
    tag = "cluster",
    params(AnswersQuery),
    responses(
        (status = 200, description = "All services, in a line each time that they change", body = ServiceAnswers,
         content_type = "application/x-ndjson"),
        (status = "default", description = "Refused or not possible", body = ApiError)
    ),
)]
pub(in crate::api) async fn answers(
    State(node): State<Arc<Node>>,
    Query(query): Query<AnswersQuery>,
) -> Result<Response, Failure> {
    let known = Arc::clone(super::cluster(&node)?);
    let slot = following::enter(query.follow)?;
    let heard = known.watch_services();
    if heard.borrow().is_none() {
        let why = "this node has heard of no services yet: it was not linked to its cluster since it has been in it";
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, why));
    }
    let name = node.hostname.clone();
    let say = move |heard: &Heard| answered(&name, heard, &known.machine_names());
    if !query.follow {
        let now = heard.borrow().as_ref().map(|heard| following::line(&say(heard)));
        let whole = futures_util::stream::iter(now.map(Ok::<_, Infallible>));
        return Ok(following::answer(whole));
    }
    let watch = (heard, say, true);
    let lines = futures_util::stream::unfold(watch, |(mut heard, say, first)| async move {
        if !first {
            heard.changed().await.ok()?;
        }
        let now = heard.borrow_and_update().clone()?;
        Some((Ok::<_, Infallible>(following::line(&say(&now))), (heard, say, false)))
    });
    Ok(following::answer(following::hold(lines, slot)))
}

/// The catalogue, for people. `machines` has machines' names.
fn answered(node: &str, heard: &Heard, machines: &BTreeMap<MachineId, String>) -> ServiceAnswers {
    let services = heard.catalogue.services.iter().map(|(service, instances)| {
        let instances = instances.iter().map(|(instance, endpoint)| {
            let id = &endpoint.machine;
            ServiceInstance {
                service: service.clone(),
                instance: instance.to_string(),
                machine: id.to_string(),
                machine_name: machines.get(id).cloned().unwrap_or_else(|| id.to_string()),
                addresses: endpoint.addresses.iter().map(ToString::to_string).collect(),
                ports: ports(&endpoint.ports),
                ready: true,
            }
        });
        (service.clone(), instances.collect())
    });
    ServiceAnswers { node: node.to_owned(), as_of_s: heard.as_of_s, services: services.collect() }
}

/// Instances of services. A machine that is lost is told as far as its last word goes.
fn services(picture: &Picture) -> Vec<ServiceInstance> {
    let mut view = View::default();
    let states = picture.states.iter();
    let mut events: Vec<Event> =
        states.map(|(id, state)| Event::State(id.clone(), Some(state.clone()))).collect();
    let there = picture.alive.iter().cloned();
    events.extend(there.map(|id| Event::Presence(id, Presence::Alive)));
    view.step(&events);
    let mut all = BTreeMap::new();
    for (id, state) in &picture.states {
        for (name, instance) in &state.instances {
            let answers = view.catalogue().services.get(name.service());
            let endpoint = answers.and_then(|service| service.get(name));
            let ready = endpoint.is_some_and(|endpoint| endpoint.machine == *id);
            let row = ServiceInstance {
                service: name.service().to_owned(),
                instance: name.to_string(),
                machine: id.to_string(),
                machine_name: picture.name_of(id),
                addresses: addresses(instance),
                ports: ports(&instance.ports),
                ready,
            };
            all.insert((row.service.clone(), name.clone(), id.clone()), row);
        }
    }
    all.into_values().collect()
}

pub(super) fn addresses(instance: &InstanceState) -> Vec<String> {
    instance.addresses.iter().map(ToString::to_string).collect()
}

pub(super) fn ports(ports: &[ServicePort]) -> Vec<String> {
    let word = |transport| match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    };
    ports.iter().map(|port| format!("{}/{}", port.port, word(port.protocol))).collect()
}

#[cfg(test)]
pub(super) fn of(picture: &Picture) -> Vec<ServiceInstance> {
    services(picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_machines_and_says_how_old_it_is() {
        let id: MachineId = "a".repeat(32).parse().unwrap();
        let endpoint = ferrite_cluster::catalogue::Endpoint {
            machine: id.clone(),
            addresses: vec![[10, 112, 1, 2].into()],
            ports: vec![ServicePort { port: 80, protocol: Transport::Tcp }],
        };
        let catalogue = ferrite_cluster::catalogue::Catalogue {
            services: [
                ("db".to_owned(), BTreeMap::new()),
                ("web".to_owned(), [("web@1".parse().unwrap(), endpoint)].into()),
            ]
            .into(),
        };
        let heard = Heard { catalogue: Arc::new(catalogue), as_of_s: Some(7) };
        let said = answered("dev-2", &heard, &[(id, "dev-1".to_owned())].into());
        assert_eq!((said.node.as_str(), said.as_of_s), ("dev-2", Some(7)));
        assert_eq!(said.services["db"], []);
        let web = &said.services["web"][0];
        assert_eq!((web.machine_name.as_str(), &*web.ports[0]), ("dev-1", "80/tcp"));
        assert_eq!(web.addresses, ["10.112.1.2"]);
        let unnamed = answered("dev-2", &heard, &BTreeMap::new());
        assert_eq!(unnamed.services["web"][0].machine_name, "a".repeat(32));
    }
}
