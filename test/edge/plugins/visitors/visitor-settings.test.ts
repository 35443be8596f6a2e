import { expect, test } from 'vitest';
import { parseSettings } from '#edge/config/settings.ts';

const VISITORS = { only: { agents: ['sky'], origins: ['https://shop.example'] }, pool: { usd_per_day: 5 } };
const REST = {
  ANTHROPIC_API_KEY: 'sk-ant-key',
  SIGNING_SECRET: 'the-signing-secret-of-the-tests-only',
  ALLOWED_ORIGINS: 'https://shop.example',
  TURNSTILE_SECRET: '0x4AAAAAAAthe-secret-of-a-widget',
};
const TEST_SECRET = '1x0000000000000000000000000000000AA';

const parsed = (visitors: object, vars: object = {}, development?: boolean) =>
  parseSettings({ ...REST, VISITORS: JSON.stringify({ ...VISITORS, ...visitors }), ...vars }, development);

test('visitors have a session of one day and their own pool by default', () => {
  expect(parsed({}).VISITORS).toEqual({ ...VISITORS, limits: {}, group: 'visitors', seconds: 86_400, turnstile: true });
  expect(parsed({}, { TURNSTILE_SECRET: TEST_SECRET }, true).VISITORS).toBeDefined();
});

test.each([
  ['no pages', { only: { agents: ['sky'] } }, {}, /origins/],
  [
    'nothing that they may ask',
    { only: { origins: ['https://shop.example'] } },
    {},
    /requires `agents` or `classifiers`/,
  ],
  ['pages that may not call', {}, { ALLOWED_ORIGINS: 'https://other.example' }, /not in ALLOWED_ORIGINS/],
  ['a pool without a limit', { pool: { alerts: [1] } }, {}, /budget of all visitors/],
  ['no secret to sign with', {}, { SIGNING_SECRET: '' }, /SIGNING_SECRET/],
  ['no secret of a widget', {}, { TURNSTILE_SECRET: '' }, /TURNSTILE_SECRET/],
  ['a secret for tests', {}, { TURNSTILE_SECRET: TEST_SECRET }, /accepts everyone/],
  ['a member that nobody knows', { agents: ['sky'] }, {}, /VISITORS/],
])('rejects visitors with %s at startup', (_, visitors, vars, words) => {
  expect(() => parsed(visitors, vars)).toThrow(words);
});

test('accepts visitors without Turnstile and without its secret', () => {
  expect(parsed({ turnstile: false }, { TURNSTILE_SECRET: '' }).VISITORS).toBeDefined();
});
