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

    /// The routes as the code has them: `.route("PATH", METHOD(…))`.
    fn routes() -> BTreeSet<(String, String)> {
        let code = include_str!("mod.rs").split(".route(").skip(1);
        let route = |rest: &str| {
            let (path, rest) = rest.trim_start().strip_prefix('"')?.split_once('"')?;
            let (method, _) = rest.trim_start_matches([',', ' ', '\n']).split_once('(')?;
            Some((path.to_owned(), method.to_owned()))
        };
        code.map(|rest| route(rest).expect("a route is written with its path and one method")).collect()
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
