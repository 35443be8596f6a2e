// @vitest-environment jsdom
import { expect, test, vi } from 'vitest';
import {
  chosenClassifier,
  fillFormWithSample,
  formFault,
  formText,
  isOutdated,
  labelsText,
  submitClassifyForm,
} from '#page/classify/form.ts';

const asked = vi.hoisted((): unknown[] => []);

// The page's client needs a browser.
vi.mock('#page/edge/client.ts', () => ({
  formatErrorForUser: String,
  getClient: () => ({
    classify: (request: unknown) => {
      asked.push(request);
      return Promise.resolve({ label: 'bug' });
    },
  }),
}));
vi.mock('#page/edge/account.ts', () => ({ refreshSpentToday: () => Promise.resolve() }));

test('a sample is classified with its own labels, not with the selected classifier', async () => {
  chosenClassifier.value = 'mine';
  formText.value = 'It crashes';
  await submitClassifyForm();
  fillFormWithSample({ title: 'An idea', text: 'Could you…', labels: ['bug', 'idea: a wish'], multi: true });
  await submitClassifyForm();
  const labels = ['bug', { name: 'idea', description: 'a wish' }];
  expect(asked).toEqual([
    { classifier: 'mine', input: 'It crashes' },
    { labels, multi: true, input: 'Could you…' },
  ]);
});

test('a result is outdated while the text or the labels differ from those submitted', async () => {
  fillFormWithSample({ title: 'An idea', text: 'Could you…', labels: ['bug', 'idea'] });
  await submitClassifyForm();
  expect(isOutdated.value).toBe(false);
  formText.value = 'Could we…';
  expect(isOutdated.value).toBe(true);
  formText.value = 'Could you…';
  expect(isOutdated.value).toBe(false);
  labelsText.value = 'bug';
  expect(isOutdated.value).toBe(true);
  await submitClassifyForm();
  expect(isOutdated.value).toBe(false);
});

test('a JSON schema in the labels field is sent as a schema, and invalid JSON is not sent', async () => {
  asked.length = 0;
  const schema = { type: 'object', properties: { mood: { enum: ['good', 'bad'] } } };
  fillFormWithSample({ title: 'A mood', text: 'Well', labels: [JSON.stringify(schema)], multi: true });
  await submitClassifyForm();
  expect(asked).toEqual([{ schema, input: 'Well' }]);
  labelsText.value = '{"type":';
  await submitClassifyForm();
  expect(asked).toHaveLength(1);
  expect(formFault.value).toContain('JSON');
});
