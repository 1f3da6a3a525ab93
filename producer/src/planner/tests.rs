//! Plans of prompts.

use super::*;

#[test]
fn the_table_can_be_read() {
    let text = include_str!("table.json");
    let table: Result<score::Table, _> = serde_json::from_str(text);
    assert!(table.is_ok(), "{:?}", table.err());
}

/// What the catalogue promises: its own examples.
#[test]
fn every_example_of_a_template_is_planned_as_it_says() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for template in templates::all() {
        for example in &template.examples {
            count += 1;
            match plan(&example.prompt, None) {
                Ok(plan) if plan.template == template.id && plan.params == example.params => {}
                Ok(plan) => wrong.push(format!(
                    "{:?}: {} {}, wanted {} {}",
                    example.prompt, plan.template, Value::Object(plan.params), template.id, Value::Object(example.params.clone())
                )),
                Err(refused) => wrong.push(format!("{:?}: {} {:?}", example.prompt, refused.detail, refused.candidates)),
            }
        }
    }
    println!("{} of {count} examples", count - wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
