//! What each should have had of what was left: weighted max-min by filling with water.

/// Parts of `left` for those with `(demand, weight)`: what one does not want goes to the others by weight.
pub(super) fn shares(left: f64, wants: &[(f64, f64)]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wants.len()).filter(|&index| wants[index].1 > 0.0).collect();
    let level = |index: usize| wants[index].0 / wants[index].1;
    order.sort_by(|&a, &b| level(a).total_cmp(&level(b)));
    let mut weight: f64 = order.iter().map(|&index| wants[index].1).sum();
    let (mut left, mut shares) = (left.max(0.0), vec![0.0; wants.len()]);
    for index in order {
        let share = wants[index].0.min(left * wants[index].1 / weight).max(0.0);
        shares[index] = share;
        left -= share;
        weight -= wants[index].1;
    }
    shares
}

/// Jain's index: 1 if all are equal, 1/n if one has all.
pub(super) fn jain(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    if squares == 0.0 { 1.0 } else { sum * sum / (values.len() as f64 * squares) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_more_than_wanted_and_the_rest_is_shared_by_weight() {
        let found = shares(100.0, &[(10.0, 1.0), (1_000.0, 1.0), (1_000.0, 2.0), (5.0, 0.0)]);
        assert_eq!(found, [10.0, 30.0, 60.0, 0.0]);
        assert_eq!(shares(100.0, &[(10.0, 1.0), (20.0, 5.0)]), [10.0, 20.0]);
    }

    #[test]
    fn jain_tells_the_equal_from_the_unequal() {
        assert_eq!((jain(&[3.0, 3.0]), jain(&[1.0, 0.0])), (1.0, 0.5));
    }
}
