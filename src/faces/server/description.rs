//! `GET /openapi.json`: all routes, for tools that make clients.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

const DESCRIPTION: &str = include_str!("openapi.json");

pub(super) async fn description() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DESCRIPTION)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// The routes as the code has them: `.route("PATH", METHOD(…).METHOD(…))`.
    fn routes() -> BTreeSet<(String, String)> {
        let mut routes = BTreeSet::new();
        for rest in include_str!("mod.rs").split(".route(").skip(1) {
            let (path, rest) = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"')).unwrap();
            let end = rest.find([';', '}']).into_iter().chain(rest.find(".layer(")).min();
            let rest = &rest[..end.unwrap_or(rest.len())];
            let methods = ["get", "post", "put", "patch", "delete"];
            let own = methods.iter().filter(|method| {
                let called = format!("{method}(");
                rest.match_indices(&called).any(|(at, _)| rest[..at].ends_with([' ', '.', '\n']))
            });
            let before = routes.len();
            routes.extend(own.map(|method| (path.to_owned(), (*method).to_owned())));
            assert!(routes.len() > before, "{path} has no method that is known here");
        }
        routes
    }

    #[test]
    fn every_route_is_described_and_nothing_else_is() {
        let description: Value = serde_json::from_str(DESCRIPTION).unwrap();
        let paths = description["paths"].as_object().unwrap();
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(|m| (path.clone(), m.clone())))
            .collect();
        let routes = routes();
        assert!(routes.len() > 10, "{routes:?}");
        assert_eq!(described, routes);
    }
}
