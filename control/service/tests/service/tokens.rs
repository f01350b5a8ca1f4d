//! Tokens through the service.

use crate::rig::{Rig, auditor, owner, tenant};
use control_service::{NewToken, ServiceError};
use domain::Time;
use domain::access::{Grant, Role};

fn new(name: &str, grant: Grant, expires: Option<u64>) -> NewToken {
    NewToken { name: name.into(), grant, expires }
}

#[test]
fn a_token_is_good_until_it_ends() {
    let rig = Rig::new();
    let operator = Grant { role: Role::Operator, ..Grant::owner() };
    let (id, secret) =
        rig.service.new_token(Time(5), &owner(), &new("ops", operator, Some(100))).unwrap();
    let verified =
        |now, text: &str| rig.service.verify_token(Time(now), text).unwrap().map(|token| token.id);
    assert_eq!(verified(99, &secret.0), Some(id));
    assert_eq!(verified(100, &secret.0), None);
    let mut wrong = secret.0.to_string();
    let last = if wrong.ends_with('A') { "E" } else { "A" };
    wrong.replace_range(8..9, last);
    for text in [
        "",
        "swy_",
        "swy_1_",
        "swy_9999999999_AA",
        &wrong,
        &secret.0[..20],
        &secret.0.replace('_', "-"),
    ] {
        assert_eq!(verified(50, text), None, "{text}");
    }
    let rig = rig.restarted();
    assert_eq!(rig.service.verify_token(Time(50), &secret.0).unwrap().unwrap().name, "ops");
    assert!(rig.service.new_token(Time(6), &owner(), &new("ops", Grant::owner(), None)).is_err());
    rig.service.revoke_token(Time(60), &owner(), id).unwrap();
    assert!(rig.service.verify_token(Time(61), &secret.0).unwrap().is_none());
    assert!(rig.service.token_holds(Time(61), id).unwrap().is_none());
    assert!(matches!(
        rig.service.revoke_token(Time(62), &owner(), id),
        Err(ServiceError::NotFound { .. })
    ));
    assert!(!format!("{secret:?}").contains("swy_"));
    let bytes = std::fs::read(&rig.path).unwrap();
    let text = secret.0.rsplit('_').next().unwrap().as_bytes();
    assert!(!bytes.windows(text.len()).any(|at| at == text));
}

#[test]
fn tenants_make_tokens_for_themselves_alone() {
    let rig = Rig::new();
    let (red, blue) = (tenant("red"), tenant("blue"));
    let (id, _) = rig.service.new_token(Time(5), &red, &new("r", red.grant.clone(), None)).unwrap();
    assert!(rig.service.new_token(Time(5), &red, &new("b", blue.grant.clone(), None)).is_err());
    assert!(rig.service.new_token(Time(5), &red, &new("o", Grant::owner(), None)).is_err());
    assert!(rig.service.new_token(Time(5), &auditor(), &new("x", auditor().grant, None)).is_err());
    let gone = Grant { tenant: Some("green".into()), ..red.grant.clone() };
    assert!(rig.service.new_token(Time(5), &owner(), &new("g", gone, None)).is_err());
    let none = Grant { tenant: None, ..red.grant.clone() };
    assert!(matches!(
        rig.service.new_token(Time(5), &owner(), &new("n", none, None)),
        Err(ServiceError::Grant(_))
    ));
    assert_eq!(
        (rig.service.tokens(&red).unwrap().len(), rig.service.tokens(&blue).unwrap().len()),
        (1, 0)
    );
    assert!(matches!(
        rig.service.revoke_token(Time(6), &blue, id),
        Err(ServiceError::NotFound { .. })
    ));
    rig.service.revoke_token(Time(6), &red, id).unwrap();
}
