import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ModelTable } from '#edge/claude/models/models.ts';
import { canUseModel, describeAllowedModels, filterAllowedModels } from '#edge/claude/pricing/allowed-models.ts';
import { tryCases } from '#test/support/property-cases.ts';

const ALIASES = { fast: 'claude-haiku-5-5', 'fast-too': 'claude-haiku-5-5', best: 'claude-opus-5-5' };
const models = new ModelTable({}, ALIASES);
const names = [...Object.keys(ALIASES), ...models.rows.flatMap(({ id, aliases }) => [id, ...aliases])];

test('filterAllowedModels lists every allowed model, under an allowed name', () => {
  tryCases(100, fc.subarray(names), (allowed) => {
    const listed = filterAllowedModels(models.rows, allowed, models);
    for (const { id } of listed) expect(canUseModel(id, allowed, models)).toBe(true);
    const rows = new Set(listed.map(({ id }) => models.findRow(id)?.id));
    expect(rows).toEqual(new Set(allowed.map((name) => models.findRow(name)?.id)));
  });
});

test('describeAllowedModels names ten models and the number of further models', () => {
  expect(describeAllowedModels([])).toContain('none');
  expect(describeAllowedModels(names.slice(0, 10))).toBe(`It can use ${names.slice(0, 10).join(', ')}.`);
  expect(describeAllowedModels(names.slice(0, 11))).toContain(' and 1 more');
});
