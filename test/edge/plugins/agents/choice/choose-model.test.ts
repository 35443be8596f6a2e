import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import type { ModelSelectionReason } from '#edge/conversations/history/storage/chosen-by.schema.ts';
import type { ModelSelection } from '#edge/conversations/history/storage/rows.ts';
import {
  canChooseMoreExpensiveModel,
  decideModelByLabel,
  findRequestedModel,
  getModelChoice,
  isModelMoreExpensive,
} from '#edge/plugins/agents/choice/choose-model.ts';
import { tryCases } from '#test/support/property-cases.ts';

const { models } = parseSettingsOnce({ UPSTREAM: 'simulator' }, true);
const RANKED = ['claude-haiku-5-5', 'claude-sonnet-5-5', 'claude-opus-5-5'];
const CHOICE = {
  by: 'd',
  models: { easy: 'claude-haiku-5-5', hard: 'claude-opus-5-5' },
  otherwise: 'claude-sonnet-5-5',
};
const label = fc.constantFrom('easy', 'hard', 'unknown', '__proto__', null);

test('the model never gets cheaper, and gets more expensive only after two labels in a row require it', () => {
  tryCases(100, fc.array(label, { minLength: 1 }), (labels) => {
    let before: ModelSelection | undefined;
    let last: string | null = null;
    for (const one of labels) {
      const meant = one === 'easy' ? RANKED[0] : one === 'hard' ? RANKED[2] : RANKED[1];
      const { model, why } = decideModelByLabel(CHOICE, one, before, models);
      if (!before) expect([model, why]).toEqual([meant, 'label']);
      else if (model === before.model) expect(why).toBe('kept');
      else {
        expect([why, isModelMoreExpensive(model, before.model, models)]).toEqual(['step_up', true]);
        expect(last === null || isModelMoreExpensive(model, String(meant), models)).toBe(false);
      }
      const by: ModelSelectionReason = { label: one, classifier: null, arm: 'chosen', why };
      before = { model, by };
      expect(canChooseMoreExpensiveModel(CHOICE, before, models)).toBe(model !== RANKED[2]);
      last = one;
    }
  });
});

test('a request can select one of the agent’s models only if the agent allows it', () => {
  const open = { ...CHOICE, overridable: true };
  expect(findRequestedModel(open, undefined, models)).toBeUndefined();
  expect(findRequestedModel(open, 'claude-opus-5-5', models)).toMatchObject({
    model: 'claude-opus-5-5',
    by: { arm: 'asked' },
  });
  expect(() => findRequestedModel(open, 'claude-fable-5', models)).toThrow('Name one of these, or remove the header');
  expect(() => findRequestedModel(CHOICE, 'claude-opus-5-5', models)).toThrow('Remove the header');
});

test('a model that does not support the agent’s parameters is not chosen, and its label selects the default', () => {
  const choice = { ...CHOICE, otherwise: 'claude-opus-5' };
  const among = (more: object, model: unknown = choice) =>
    getModelChoice({ definition: { model, max_tokens: 64, ...more } } as never, models);
  const forced = among({ tool_choice: { type: 'any' } });
  expect(forced).toEqual({ ...choice, models: { easy: 'claude-haiku-5-5' } });
  expect(forced && decideModelByLabel(forced, 'hard', undefined, models).model).toBe('claude-opus-5');
  // It would think, and no tokens are left.
  expect(among({ thinking: { type: 'disabled' } })?.models).toEqual({ easy: 'claude-haiku-5-5' });
  expect(among({ unknown: 'name' })).toEqual(choice);
  expect([among({}, 'claude-opus-5'), getModelChoice(undefined, models)]).toEqual([undefined, undefined]);
});
