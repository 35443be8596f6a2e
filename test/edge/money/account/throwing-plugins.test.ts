import { afterEach, expect, test, vi } from 'vitest';
import type { AccountState } from '#edge/money/account/account-state.ts';
import {
  type AccountPlugin,
  listPluginErasables,
  notifySumsChanged,
  runDuePluginWork,
} from '#edge/money/account/hooks.ts';
import { operator } from '#edge/plugins/operator/plugin.ts';
import { webhooks } from '#edge/plugins/webhooks/plugin.ts';

const fail = () => {
  throw new RangeError('broken');
};

/** Replaces a hook of a plugin's part in accounts. */
function replace(part: AccountPlugin | undefined, hook: 'due' | 'summed', by: () => void): void {
  if (!part) throw new Error('This plugin has no part in accounts.');
  const before = part[hook];
  Object.assign(part, { [hook]: by });
  restores.push(() => Object.assign(part, { [hook]: before }));
}
const restores: (() => void)[] = [];
afterEach(() => {
  for (const restore of restores.splice(0)) restore();
  vi.restoreAllMocks();
});

function accountState() {
  const heard: unknown[] = [];
  const state = {
    accountId: 'alice',
    now: () => 1_000,
    alarm: { scheduleAt: (time: number) => void heard.push(['alarm', time]) },
    retries: {
      recordFailure: (task: string, _: unknown, nextAt: number) => void heard.push([task, nextAt]),
      recordSuccess: (task: string) => void heard.push([task, 'done']),
    },
  } as unknown as AccountState;
  return { heard, state };
}

const isCalled = (name: string, heard: unknown[]) => () => void heard.push(name);

test.each([
  [operator, webhooks],
  [webhooks, operator],
])('calls the other plugins when one throws in `due`, and has the alarm call it again', async (broken, other) => {
  const { heard, state } = accountState();
  replace(broken.account, 'due', fail);
  replace(other.account, 'due', isCalled('other', heard));
  await runDuePluginWork(state);
  expect(heard).toContain('other');
  expect(heard).toContainEqual(['alarm', 61_000]);
  expect(heard).toContainEqual(['plugin', 61_000]);
  expect(heard).not.toContainEqual(['plugin', 'done']);
});

test('notes a success once no plugin throws in `due`', async () => {
  const { heard, state } = accountState();
  replace(operator.account, 'due', isCalled('operator', heard));
  replace(webhooks.account, 'due', isCalled('webhooks', heard));
  await runDuePluginWork(state);
  expect(heard).toContainEqual(['plugin', 'done']);
});

test.each([
  [operator, webhooks],
  [webhooks, operator],
])('logs what a plugin throws in `summed`, and calls the others', (broken, other) => {
  const { heard, state } = accountState();
  const logging = vi.spyOn(console, 'error').mockImplementation(() => {});
  replace(broken.account, 'summed', fail);
  replace(other.account, 'summed', isCalled('other', heard));
  notifySumsChanged(state);
  expect(heard).toEqual(['other']);
  expect(String(logging.mock.calls[0])).toContain('"hook":"summed"');
});

test('keeps an erasure open while a plugin cannot list its stored data', () => {
  const { heard, state } = accountState();
  expect(listPluginErasables(state, { listKept: fail })?.countCreatedUntil(0)).toBe(1);
  expect(heard).toContainEqual(['alarm', 61_000]);
  expect(heard).toContainEqual(['erasure', 61_000]);
});
