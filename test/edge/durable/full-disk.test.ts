import { afterEach, expect, test, vi } from 'vitest';
import { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import { Account } from '#edge/money/account/account.ts';
import { createTestApp, readError } from '#test/support/app.ts';
import { installSimulator } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { SMALL_MESSAGE } from '#test/support/small-message.ts';
import { createBody } from '#test/support/turns.ts';
import { createWebhookWorks, getInbox } from '#test/support/webhooks.ts';

/** What SQLite says in an object that is open, and the runtime of one that it cannot open. */
const FULL = 'database or disk is full: SQLITE_FULL';
const UNOPENED = 'internal error; reference = uo43ia6n7l5j61r966k1up2n';
const throwing = (said: string) => () => {
  throw new Error(said);
};
afterEach(() => void vi.restoreAllMocks());

test('a full disk returns a 503 that says to try again, sends one alert, and is not reported as damage', async () => {
  createWebhookWorks();
  installSimulator();
  const app = createTestApp(() => Response.json(SMALL_MESSAGE));
  const ask = async (more: object = {}) => {
    const response = await app.post('/v1/messages', { ...createBody('Hi.'), stream: false, ...more });
    const { type, message } = await readError(response);
    await app.waitUntilSettled();
    const { error_type } = app.log.at(-1) ?? {};
    return [response.status, response.headers.get('retry-after'), type, message, error_type];
  };
  const full = [
    503,
    '1',
    'api_error',
    expect.stringMatching(/cannot store anything.*Try again in a moment/),
    expect.stringMatching(/^disk_full: /),
  ];
  const admitting = vi.spyOn(Account.prototype, 'admitJson').mockImplementation(throwing(FULL));
  expect(await ask()).toEqual(full);
  // An object that is not open yet only says that it cannot be opened.
  admitting.mockImplementation(throwing(UNOPENED));
  expect(await ask()).toEqual(full);
  admitting.mockRestore();
  vi.spyOn(Transcript.prototype, 'storeNewTurn').mockImplementation(throwing(FULL));
  expect(await ask({ conversation: 'full' })).toEqual(full);
  await eventually(async () => {
    const { data } = await getInbox('alert').listAlerts({ limit: 100 });
    expect(data.map(({ kind, node }) => [kind, node.type])).toEqual([['disk_full', 'deployment']]);
  });
});
