//! The store: copies of it, and whether it is in order.

use crate::app::Api;
use crate::auth::Who;
use crate::extract::Json;
use crate::problem::{Kind, Problem};
use axum::extract::State;
use axum::http::StatusCode;
use domain::access::{Forbidden, Role};
use serde::{Deserialize, Serialize};
use service::ServiceError;
use std::io::ErrorKind;
use store::{Damage, StoreError};
use utoipa::ToSchema;

/// Longest name of a backup, bytes.
const NAME_LEN_MAX: usize = 100;

/// A backup that shall be made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackupAsked {
    /// Name of its file: 1 to 100 letters, digits, `-`, `_`, `.`, and no `.` in front.
    name: String,
}

/// A backup.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Backup {
    /// Path of its file on the box.
    path: String,
}

/// Copies the whole store, as it is at one moment, into a file on the box. For the owner alone.
#[utoipa::path(
    post, path = "/backups", tag = "store", request_body = BackupAsked,
    responses((status = 201, body = Backup)),
)]
pub(crate) async fn backup(
    State(api): State<Api>,
    who: Who,
    Json(BackupAsked { name }): Json<BackupAsked>,
) -> Result<(StatusCode, Json<Backup>), Problem> {
    let role = who.caller.grant.role;
    if role != Role::Owner {
        return Err(ServiceError::from(Forbidden::Role { what: "a backup", role }).into());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = (1..=NAME_LEN_MAX).contains(&name.len()) && name.chars().all(plain);
    if !is_name || name.starts_with('.') {
        let allowed = format!("1 to {NAME_LEN_MAX} letters, digits, - _ . and no point in front");
        return Err(Problem::invalid("name", format!("{name:?}"), allowed));
    }
    let Some(folder) = api.settings().backups.clone() else {
        return Err(Problem::new(Kind::Conflict, "the box has no directory for backups"));
    };
    let path = folder.join(&name);
    let shown = path.display().to_string();
    api.blocking(move |api| {
        let service = api.service();
        let reader = service.reader().map_err(Problem::from)?;
        reader.backup(&path).map_err(|error| match error {
            StoreError::File { error, .. } if error.kind() == ErrorKind::AlreadyExists => {
                Problem::new(Kind::Conflict, format!("backup {name:?}: there is one of this name"))
            }
            error @ (StoreError::Sql(_)
            | StoreError::File { .. }
            | StoreError::Value { .. }
            | StoreError::Newer { .. }
            | StoreError::Number(_)
            | StoreError::Damaged(_)) => Problem::internal(&error),
        })?;
        Ok(service.note(api.now(), &who.caller, "store.backup", None, &name, "")?)
    })
    .await?;
    Ok((StatusCode::CREATED, Json(Backup { path: shown })))
}

/// What is wrong with the store.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Checked {
    /// In sentences; none: it is in order.
    damage: Vec<String>,
}

/// Reads all of the store, and says what is wrong with it. Not for tenants and auditors: it takes long.
#[utoipa::path(
    post, path = "/db/check", tag = "store", responses((status = 200, body = Checked)),
)]
pub(crate) async fn check(State(api): State<Api>, who: Who) -> Result<Json<Checked>, Problem> {
    let damage = api.blocking(move |api| {
        who.caller.grant.may_operate("checking the store").map_err(ServiceError::from)?;
        let mut reader = api.service().reader().map_err(Problem::from)?;
        reader.check().map_err(|error| Problem::internal(&error))
    });
    let damage = damage.await?.into_iter().map(|Damage(sentence)| sentence);
    Ok(Json(Checked { damage: damage.collect() }))
}
