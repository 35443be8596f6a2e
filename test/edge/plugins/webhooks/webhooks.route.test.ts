import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { hmac } from '#edge/kit/delivery/hmac.ts';
import { createStandardWebhookHeaders } from '#edge/kit/delivery/standard-webhooks.ts';
import { SHIPPED_SOURCES } from '#edge/plugins/webhooks/shipped-sources.ts';
import { defineWebhook, type Webhook } from '#edge/plugins/webhooks/sources/define-webhook.ts';
import type { EventReport, EventRow } from '#edge/plugins/webhooks/webhooks-answers.schema.ts';
import { createTestApp, readError, type TestApp } from '#test/support/app.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { createWebhookVars } from '#test/support/webhook-vars.ts';
import { getInbox, WEBHOOK_SECRET } from '#test/support/webhooks.ts';
import comment from '../../../../examples/webhooks/github/comment.json';
import issue from '../../../../examples/webhooks/github/issue.json';
import ping from '../../../../examples/webhooks/github/ping.json';
import pullRequest from '../../../../examples/webhooks/github/pull-request.json';
import message from '../../../../examples/webhooks/slack/message.json';
import urlVerification from '../../../../examples/webhooks/slack/url-verification.json';
import contact from '../../../../examples/webhooks/standard/message.json';
import dispute from '../../../../examples/webhooks/stripe/dispute.json';
import refund from '../../../../examples/webhooks/stripe/refund.json';
import { signGithub, signHmac, signSlack, signStripe } from '../../../../scripts/sign-webhook.ts';

const ISSUE_EVENT = 'github_issue-3001-2026-11-20T090000Z';
/** An event that is known by its delivery. */
const UNTIMED = { ...issue, issue: { ...issue.issue, updated_at: undefined } };
const OTHER = 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD';
const SECRETS = {
  WEBHOOKS: JSON.stringify(SHIPPED_SOURCES.map((source) => ({ source, secret: 'OUR_WEBHOOK_SECRET' }))),
  OUR_WEBHOOK_SECRET: WEBHOOK_SECRET,
};

interface Edge extends TestApp {
  queued: string[];
}

function edgeOf(vars: Record<string, unknown> = {}, webhooks?: Webhook[]): Edge {
  const queued: string[] = [];
  const queue = {
    send: async (id: string) => {
      queued.push(id);
    },
  };
  const app = createTestApp(
    () => Response.json({ type: 'message' }),
    { ...DEPLOYED_VARS, ...SECRETS, QUEUE: queue, ...vars },
    { options: webhooks ? { webhooks } : {} },
  );
  return { ...app, queued };
}

type Source = (typeof SHIPPED_SOURCES)[number];

/** The headers of a sender; `at` is when it was signed, in milliseconds from now. */
async function signed(source: Source, body: string | Uint8Array, secret = WEBHOOK_SECRET, id = 'one', at = 0) {
  const bytes = typeof body === 'string' ? new TextEncoder().encode(body) : body;
  const time = Date.now() + at;
  const headers = await {
    github: () => signGithub(bytes, secret, 'issues', id),
    stripe: () => signStripe(bytes, secret, time),
    slack: () => signSlack(bytes, secret, time),
    standard: () => createStandardWebhookHeaders(bytes, secret, id, time),
  }[source]();
  return { 'content-type': 'application/json', ...Object.fromEntries(headers) };
}

async function send(edge: Edge, source: Source, payload: unknown, ...how: [secret?: string, id?: string, at?: number]) {
  const body = typeof payload === 'string' ? payload : JSON.stringify(payload);
  return await edge.fetch(`/webhooks/${source}`, { method: 'POST', headers: await signed(source, body, ...how), body });
}

async function textOf(source: string, id: string): Promise<string | null> {
  const work = await getInbox(source).leaseEvent(id, 1_000);
  return work.kind === 'none' ? null : work.text;
}

describe('a signed event', () => {
  test('is accepted once, and enqueued with only its id', async () => {
    const edge = edgeOf();
    const first = await send(edge, 'github', issue);
    expect([first.status, await first.json()]).toEqual([202, { event_id: ISSUE_EVENT, status: 'accepted' }]);
    const second = await send(edge, 'github', issue);
    expect([second.status, await second.json()]).toEqual([200, { event_id: ISSUE_EVENT, status: 'duplicate' }]);
    await edge.waitUntilSettled();
    expect(edge.queued).toEqual([ISSUE_EVENT]);
    expect(edge.sent).toEqual([]);
    expect(edge.log.at(0)).toMatchObject({
      route: '/webhooks/:source',
      account: 'webhook-github',
      event_id: ISSUE_EVENT,
    });
    expect(JSON.stringify(edge.log)).not.toContain('crashes');
    expect(JSON.stringify(edge.log)).not.toContain(WEBHOOK_SECRET.slice(6));
  });

  test.each<[Source, string, object, string, RegExp]>([
    ['github', 'an issue', issue, ISSUE_EVENT, /^Crash with an error.*TypeError/s],
    ['github', 'a comment', comment, 'github_comment-9001-2026-11-20T090500Z', /^How do I export/],
    ['github', 'a pull request', pullRequest, 'github_pull_request-4001-2026-11-20T100000Z', /^Add a feature/],
    [
      'github',
      'an edited title',
      { ...issue, action: 'edited', changes: { title: { from: 'Crash' } } },
      `${ISSUE_EVENT}-title`,
      /^Crash with an error/,
    ],
    ['stripe', 'a dispute', dispute, 'stripe_evt_1', /^Dispute, reason: fraudulent.*order: A-1009.*somebody else/s],
    ['stripe', 'a refund', refund, 'stripe_evt_2', /^Refund, reason: duplicate.*Charged twice/s],
    ['slack', 'a message', message, 'slack_C024BE91L-1795165200-000200', /^The printer/],
    ['standard', 'a message', contact, 'standard_one', /^I have a question/],
    ['standard', 'a text on top', { text: 'Please call me' }, 'standard_one', /^Please/],
  ])('from %s is accepted with the text of %s', async (source, _, payload, id, text) => {
    const edge = edgeOf();
    expect(await (await send(edge, source, payload)).json()).toEqual({ event_id: id, status: 'accepted' });
    expect(await textOf(source, id)).toMatch(text);
  });

  test.each<[Source, string, object]>([
    ['github', 'a ping', ping],
    ['github', 'a label that was put on', { ...issue, action: 'labeled' }],
    [
      'github',
      'an edit of something else',
      { ...pullRequest, action: 'edited', changes: { base: { ref: { from: 'main' } } } },
    ],
    [
      'github',
      'an edit that changes nothing',
      { ...issue, action: 'edited', changes: { title: { from: issue.issue.title }, body: { from: issue.issue.body } } },
    ],
    ['github', 'an issue that was closed', { ...issue, action: 'closed' }],
    ['github', 'an event of another kind', { ref: 'refs/heads/main', commits: [] }],
    ['github', 'an empty issue', { action: 'opened', issue: { title: ' ', body: null } }],
    ['github', 'what is no issue', { action: 'opened', issue: null }],
    ['github', 'a comment that a bot sends', { ...comment, sender: { type: 'Bot' } }],
    ['github', 'a comment that a bot wrote', { ...comment, comment: { ...comment.comment, user: { type: 'Bot' } } }],
    ['github', 'an issue that a bot wrote', { ...issue, issue: { ...issue.issue, user: { type: 'Bot' } } }],
    ['stripe', 'a payment', { ...dispute, data: { object: { id: 'pi_1', object: 'payment_intent' } } }],
    ['stripe', 'a refund without a reason', { ...refund, data: { object: { object: 'refund', reason: null } } }],
    ['slack', 'a message of a bot', { ...message, event: { ...message.event, bot_id: 'B1' } }],
    ['slack', 'a message that was deleted', { ...message, event: { ...message.event, subtype: 'message_deleted' } }],
    ['slack', 'a reaction', { ...message, event: { type: 'reaction_added' } }],
    ['slack', 'no event', { type: 'event_callback' }],
    ['standard', 'no text', { data: { text: 7 } }],
    ['standard', 'a text that is blank', { text: ' \n ' }],
  ])('from %s is ignored if it has no text to label: %s', async (source, _, payload) => {
    const edge = edgeOf();
    const answer = await send(edge, source, payload);
    expect([answer.status, await answer.json()]).toEqual([
      200,
      { status: 'ignored', reason: 'The source found no text in this event.' },
    ]);
    await edge.waitUntilSettled();
    expect(edge.queued).toEqual([]);
    expect((await getInbox(source).listEvents({})).data).toEqual([]);
  });

  test('with Svix header names is identified by the signed id', async () => {
    const body = JSON.stringify(contact);
    const headers = Object.entries(await signed('standard', body)).map(([name, value]) => [
      name.replace('webhook', 'svix'),
      value,
    ]);
    const answer = await edgeOf().fetch('/webhooks/standard', {
      method: 'POST',
      headers: Object.fromEntries(headers),
      body,
    });
    expect(await answer.json()).toEqual({ event_id: 'standard_one', status: 'accepted' });
  });

  test('from Slack for URL verification is answered with its challenge, but only if it is signed', async () => {
    const edge = edgeOf();
    const answer = await send(edge, 'slack', urlVerification);
    expect([answer.status, await answer.json()]).toEqual([200, { challenge: urlVerification.challenge }]);
    expect((await send(edge, 'slack', urlVerification, OTHER)).status).toBe(401);
  });

  test('is accepted with each of several secrets during a rotation', async () => {
    const edge = edgeOf({ OUR_WEBHOOK_SECRET: `${OTHER} , ${WEBHOOK_SECRET}` });
    expect((await send(edge, 'github', issue, WEBHOOK_SECRET, 'a')).status).toBe(202);
    expect((await send(edge, 'github', comment, OTHER, 'b')).status).toBe(202);
    expect((await send(edge, 'github', issue, 'a third one, and long', 'c')).status).toBe(401);
  });

  test('is identified by a hash if its id is not valid in a path, and by its body’s hash if it has no id', async () => {
    const edge = edgeOf();
    const ids = new Set<string>();
    for (const id of ['a/b', 'a b', 'x'.repeat(200), 'sha256-0', 'ü']) {
      const answer = (await (
        await send(edge, 'github', { ...UNTIMED, id }, WEBHOOK_SECRET, encodeURIComponent(id))
      ).json()) as {
        event_id: string;
      };
      expect(answer.event_id).toMatch(/^github_[\w-]{1,128}$/);
      ids.add(answer.event_id);
    }
    expect(ids.size).toBe(5);
    const { id: _, ...anonymous } = dispute;
    for (const status of ['accepted', 'duplicate']) {
      expect(await (await send(edge, 'stripe', anonymous)).json()).toMatchObject({ status });
    }
  });

  test('from GitHub is a duplicate under another delivery id, because its signature covers only the body', async () => {
    const edge = edgeOf();
    await send(edge, 'github', UNTIMED);
    const again = await edge.fetch('/webhooks/github', {
      method: 'POST',
      headers: { ...(await signed('github', JSON.stringify(UNTIMED))), 'x-github-delivery': 'another-one' },
      body: JSON.stringify(UNTIMED),
    });
    expect([again.status, await again.json()]).toEqual([200, { event_id: 'github_one', status: 'duplicate' }]);
    expect((await send(edge, 'github', { ...UNTIMED, number: 2 }, WEBHOOK_SECRET, 'two')).status).toBe(202);
    await edge.waitUntilSettled();
    expect(edge.queued).toEqual(['github_one', 'github_two']);
  });

  describe('from GitHub', () => {
    const at = { id: 42, updated_at: '2026-11-20T12:00:00Z' };
    const opened = { ...issue, issue: { ...issue.issue, ...at } };

    test('is a duplicate if both an app and its repository deliver it, and new after an edit', async () => {
      const edge = edgeOf();
      const comes = async (delivery: string, payload: object) =>
        await (await send(edge, 'github', payload, WEBHOOK_SECRET, delivery)).json();
      const event_id = 'github_issue-42-2026-11-20T120000Z';
      expect(await comes('of-the-repository', opened)).toEqual({ event_id, status: 'accepted' });
      const ofApp = { ...opened, installation: { id: 7 } };
      expect(await comes('of-the-app', ofApp)).toEqual({ event_id, status: 'duplicate' });
      expect(await comes('labeled', { ...ofApp, action: 'labeled' })).toMatchObject({ status: 'ignored' });
      const edited = { ...opened, action: 'edited', changes: { body: { from: 'It crashes.' } } };
      edited.issue = { ...opened.issue, updated_at: '2026-11-20T12:00:09Z' };
      expect(await comes('edited', edited)).toEqual({
        event_id: 'github_issue-42-2026-11-20T120009Z-body',
        status: 'accepted',
      });
      const commented = { ...opened, action: 'created', comment: { ...comment.comment, ...at } };
      expect(await comes('commented', commented)).toMatchObject({
        event_id: 'github_comment-42-2026-11-20T120000Z',
        status: 'accepted',
      });
      await edge.waitUntilSettled();
      expect(edge.queued).toHaveLength(3);
    });

    test('is new for a submitted review and for each edit, although the review’s time stays the same', async () => {
      const edge = edgeOf();
      const review = { id: 9, body: 'Please add a test.', submitted_at: '2026-11-20T12:00:00Z' };
      const changes = { body: { from: 'Add a test.' } };
      const ids: unknown[] = [];
      for (const [delivery, action] of Object.entries({ one: 'submitted', two: 'edited', three: 'edited' })) {
        const payload = { action, delivery, review, changes, pull_request: pullRequest.pull_request };
        const answer = await send(edge, 'github', payload, WEBHOOK_SECRET, delivery);
        ids.push(((await answer.json()) as { event_id: string }).event_id);
      }
      expect(ids).toEqual(['github_review-9-2026-11-20T120000Z', 'github_two', 'github_three']);
    });
  });

  test('from Slack is a duplicate if a mention arrives as `message` and as `app_mention`, and new in another channel', async () => {
    const edge = edgeOf();
    const comes = async (event_id: string, more: object) =>
      await (await send(edge, 'slack', { ...message, event_id, event: { ...message.event, ...more } })).json();
    const event_id = 'slack_C024BE91L-1795165200-000200';
    expect(await comes('Ev1', {})).toEqual({ event_id, status: 'accepted' });
    expect(await comes('Ev2', { type: 'app_mention' })).toEqual({ event_id, status: 'duplicate' });
    expect(await comes('Ev3', { channel: 'C1' })).toMatchObject({ status: 'accepted' });
    expect(await comes('Ev4', { ts: '1795165201.000200' })).toMatchObject({ status: 'accepted' });
    expect(await comes('Ev5', { ts: undefined })).toEqual({ event_id: 'slack_Ev5', status: 'accepted' });
    await edge.waitUntilSettled();
    expect(edge.queued).toHaveLength(4);
  });

  test('may have the same body as another event if its sender signs an id or a time', async () => {
    const edge = edgeOf();
    for (const id of ['one', 'two']) {
      expect((await send(edge, 'standard', contact, WEBHOOK_SECRET, id)).status).toBe(202);
    }
  });

  test.each<[string, Pick<Parameters<typeof defineWebhook>[0], 'verify' | 'dedupe'>, number]>([
    ['an HMAC of the body', { verify: hmac({ header: 'x-tickets-signature' }) }, 200],
    ['the same, where the definition has ids count alone', { verify: hmac({ header: 'x' }), dedupe: 'id' }, 202],
    ['a function of its own', { verify: async () => 'valid' }, 200],
    [
      'a scheme that covers the id',
      { verify: { precheckHeaders: () => undefined, verify: async () => 'valid', covers: 'id' } },
      202,
    ],
  ])(
    'with a known body and a second id is new or a duplicate depending on its verification: %s',
    async (_, how, second) => {
      const tickets = defineWebhook({
        ...how,
        source: 'tickets',
        id: ({ headers }) => headers.get('x-id') ?? undefined,
        text: () => 'x',
        labels: ['a', 'b'],
      });
      const edge = edgeOf({ ...createWebhookVars('tickets'), TICKETS_WEBHOOK_SECRET: WEBHOOK_SECRET }, [tickets]);
      const bytes = new TextEncoder().encode('{"text":"help"}');
      for (const [id, status] of [
        ['one', 202],
        ['two', second],
      ] as const) {
        const headers = new Headers({ 'content-type': 'application/json', 'x-id': id });
        for (const header of ['x-tickets-signature', 'x']) {
          headers.set(header, (await signHmac(bytes, WEBHOOK_SECRET, { header })).get(header) ?? '');
        }
        const response = await edge.fetch('/webhooks/tickets', { method: 'POST', headers, body: bytes });
        expect(response.status).toBe(status);
      }
    },
  );

  test('stays in the inbox if the queue rejects its message', async () => {
    const errors = vi.spyOn(globalThis.console, 'error').mockImplementation(() => {});
    const edge = edgeOf({ QUEUE: { send: () => Promise.reject(new Error('queue overloaded')) } });
    expect((await send(edge, 'github', issue)).status).toBe(202);
    await edge.waitUntilSettled();
    expect(String(errors.mock.calls[0]?.[0])).toContain('queue overloaded');
    errors.mockRestore();
    expect((await getInbox('github').listEvents({ state: 'accepted' })).data).toHaveLength(1);
  });
});

describe('an invalid event', () => {
  const body = JSON.stringify(issue);
  const sources = ['github', 'stripe', 'slack', 'standard'] as const;

  test.each(sources)('from %s is rejected with 415, 401, 413, 401 or 400, checked in this order', async (source) => {
    const edge = edgeOf({ MAX_BODY_BYTES: '3000' });
    const long = JSON.stringify({ text: 'x'.repeat(4_000) });
    const bad = '{"text": ';
    const post = async (text: string, headers: Record<string, string>) =>
      await edge.fetch(`/webhooks/${source}`, { method: 'POST', headers, body: text });
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    const json = { 'content-type': 'application/json' };
    const cases: [number, string, Record<string, string>][] = [
      [415, long, form],
      [415, body, { ...(await signed(source, body)), ...form }],
      [401, long, json],
      [413, long, await signed(source, long, OTHER)],
      [413, long, await signed(source, long)],
      [401, bad, json],
      [401, body, await signed(source, body, OTHER)],
      [401, body.replace('42', '43'), await signed(source, body)],
      [400, bad, await signed(source, bad)],
      [400, '[1]', await signed(source, '[1]')],
    ];
    if (source !== 'github') cases.push([401, long, await signed(source, long, WEBHOOK_SECRET, 'one', -310_000)]);
    const types = {
      415: 'invalid_request_error',
      413: 'request_too_large',
      401: 'authentication_error',
      400: 'invalid_request_error',
    };
    for (const [status, text, headers] of cases) {
      const response = await post(text, headers);
      expect([response.status, (await readError(response)).type]).toEqual([status, types[status as 400]]);
    }
    await edge.waitUntilSettled();
    expect(edge.queued).toEqual([]);
    expect(edge.sent).toEqual([]);
    expect((await getInbox(source).listEvents({})).data).toEqual([]);
    const log = JSON.stringify(edge.log);
    expect(log).toContain('webhook_signature_forged');
    expect(log).toContain('webhook_signature_missing');
    for (const secret of [WEBHOOK_SECRET, OTHER]) expect(log).not.toContain(secret.slice(6));
  });

  test.each(sources)(
    'from %s is rejected before its body is read if its headers show that it is invalid',
    async (source) => {
      const edge = edgeOf();
      const good = await signed(source, body);
      const stale = await signed(source, body, WEBHOOK_SECRET, 'one', -310_000);
      const unformed = Object.fromEntries(
        Object.entries(good).map(([name, value]) => [name, /signature/.test(name) ? value.slice(0, -3) : value]),
      );
      const bad = [{ 'content-type': 'application/json' }, unformed, ...(source === 'github' ? [] : [stale])];
      for (const headers of bad) {
        let read = false;
        const unread = new ReadableStream<Uint8Array>(
          {
            pull(controller) {
              read = true;
              controller.close();
            },
          },
          { highWaterMark: 0 },
        );
        const response = await edge.fetch(`/webhooks/${source}`, { method: 'POST', headers, body: unread });
        expect([response.status, read]).toEqual([401, false]);
      }
    },
  );

  test('is rejected if its body exceeds 1 MB, or 25 MB from GitHub', async () => {
    const edge = edgeOf();
    const ofLength = (length: number) => `{"text":"${'x'.repeat(length - 11)}"}`;
    const MB = 1024 * 1024;
    const limits: [Source, number][] = [
      ['github', 25 * MB],
      ['stripe', MB],
      ['slack', MB],
      ['standard', MB],
    ];
    for (const [source, limit] of limits) {
      expect((await send(edge, source, ofLength(limit))).status, source).toBeLessThan(300);
      const refused = await send(edge, source, ofLength(limit + 1));
      expect([source, refused.status]).toEqual([source, 413]);
      expect((await readError(refused)).message).toContain(String(limit));
    }
    const small = defineWebhook({
      source: 'small',
      verify: async () => 'valid',
      maxBodyBytes: 20,
      text: () => 'x',
      labels: ['a', 'b'],
    });
    const own = edgeOf({ ...createWebhookVars('small'), SMALL_WEBHOOK_SECRET: WEBHOOK_SECRET }, [small]);
    const headers = { 'content-type': 'application/json' };
    for (const [length, status] of [
      [20, 202],
      [21, 413],
    ] as const) {
      const response = await own.fetch('/webhooks/small', { method: 'POST', headers, body: ofLength(length) });
      expect(response.status).toBe(status);
    }
  });

  test('returns 503 while another large body uses the memory, but is read if its length is usual', async () => {
    const edge = edgeOf();
    const MB = 1024 * 1024;
    const form = await signed('github', 'something else');
    /** Sends so many bytes; the rest never comes until it is ended. */
    const begin = (bytes: number) => {
      let [end, taken] = [() => {}, () => {}];
      const read = new Promise<void>((resolve) => {
        taken = resolve;
      });
      const body = new ReadableStream<Uint8Array>({
        start(controller) {
          for (let at = 0; at < bytes; at += MB) controller.enqueue(new Uint8Array(MB));
          end = () => controller.close();
        },
        // Asked for more: there is nothing left.
        pull: () => taken(),
      });
      return { answer: edge.fetch('/webhooks/github', { method: 'POST', headers: form, body }), end, read };
    };
    const first = begin(24 * MB);
    await first.read;
    const refused = await begin(24 * MB).answer;
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '2']);
    expect((await send(edge, 'github', issue)).status).toBe(202);
    const usual = begin(MB);
    usual.end();
    expect((await usual.answer).status).toBe(401);
    first.end();
    expect((await first.answer).status).toBe(401);
    const then = begin(24 * MB);
    then.end();
    expect((await then.answer).status).toBe(401);
  });

  test('from an unknown or disabled source is rejected with 404 before its body is read', async () => {
    const edge = edgeOf(createWebhookVars('stripe'));
    for (const source of ['unknown', 'GITHUB', 'constructor', 'stripe', 'slack', '%00']) {
      const response = await edge.fetch(`/webhooks/${source}`, { method: 'POST', body });
      expect([source, response.status]).toEqual([source, 404]);
    }
    const closed = await edge.fetch('/webhooks/stripe', { method: 'POST', body });
    expect((await readError(closed)).message).toContain('STRIPE_WEBHOOK_SECRET');
    const unnamed = await edge.fetch('/webhooks/slack', { method: 'POST', body });
    expect((await readError(unnamed)).message).toContain('WEBHOOKS');
    expect((await edge.fetch('/webhooks/github')).status).toBe(405);
  });

  test.each(sources)('with any bytes to %s, signed or not, returns a 4xx or a success', async (source) => {
    const edge = edgeOf();
    const payloads = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.json().map((text) => new TextEncoder().encode(text)),
      fc
        .json()
        .map((text) => new TextEncoder().encode(`{"action":"opened","issue":${text},"event":${text},"data":${text}}`)),
    );
    await tryAsyncCases(150, payloads, fc.boolean(), async (bytes, isSigned) => {
      const headers =
        isSigned && bytes.length > 0 ? await signed(source, bytes) : { 'content-type': 'application/json' };
      const response = await edge.fetch(`/webhooks/${source}`, { method: 'POST', headers, body: bytes });
      expect(response.status, await response.clone().text()).toBeLessThan(500);
      if (!isSigned) expect(response.status).toBe(401);
      await response.body?.cancel();
    });
    expect(edge.sent).toEqual([]);
  });

  test('is ignored and logged if the source’s definition throws', async () => {
    const webhook = defineWebhook<{ deep: { text: string } }>({
      source: 'github',
      verify: async () => 'valid',
      text: ({ body: { deep } }) => deep.text,
      labels: ['a', 'b'],
    });
    const edge = edgeOf({}, [webhook]);
    const json = { 'content-type': 'application/json' };
    const response = await edge.fetch('/webhooks/github', { method: 'POST', headers: json, body: '{}' });
    expect(await response.json()).toEqual({ status: 'ignored', reason: 'The source cannot read this event.' });
    await edge.waitUntilSettled();
    expect(edge.log.at(-1)?.error_type).toBe('webhook_unreadable: TypeError');
  });

  test('createApp rejects two sources with the same name', () => {
    const webhook = defineWebhook({ source: 'same', verify: async () => 'valid', text: () => 'x', labels: ['a'] });
    expect(() => edgeOf({}, [webhook, webhook])).toThrow(TypeError);
  });
});

describe('an admin', () => {
  test('lists the events of a source, reads one, and replays it', async () => {
    const edge = edgeOf();
    for (const id of ['a', 'b', 'c']) await send(edge, 'github', { ...UNTIMED, id }, WEBHOOK_SECRET, id);
    const headers = bearerHeader(await createToken('root', ['admin']));
    const get = async <T>(path: string) => (await (await edge.fetch(path, { headers })).json()) as T;
    const list = await get<{ data: EventRow[]; has_more: boolean; last_id: string }>('/webhooks/github/events?limit=2');
    expect(list).toMatchObject({ has_more: true, first_id: 'github_c', last_id: 'github_b' });
    expect(list.data[0]).toMatchObject({
      event_id: 'github_c',
      source: 'github',
      state: 'accepted',
      label: null,
      attempts: 0,
    });
    const rest = await get<{ data: EventRow[] }>(`/webhooks/github/events?after_id=${list.last_id}`);
    expect(rest.data.map(({ event_id }) => event_id)).toEqual(['github_a']);
    const none = await get<{ data: EventRow[] }>('/webhooks/github/events?state=parked');
    expect(none.data).toEqual([]);
    expect((await edge.fetch('/webhooks/github/events?state=lost', { headers })).status).toBe(400);
    const report = await get<EventReport>('/webhooks/github/events/github_a');
    expect(report).toMatchObject({ event_id: 'github_a', attempts: [], result: null, next_attempt_at: null });
    expect(report.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(report.text).toMatch(/^Crash with an error/);
    expect(JSON.stringify(list)).not.toContain('Crash');
    const replayed = await edge.fetch('/webhooks/github/events/github_a/replay', { method: 'POST', headers });
    expect([replayed.status, await replayed.json()]).toEqual([202, report]);
    await edge.waitUntilSettled();
    expect(edge.queued).toEqual(['github_a', 'github_b', 'github_c', 'github_a']);
  });

  test('is required to read events: other callers get 401 or 403, and unknown ids return 404', async () => {
    const edge = edgeOf();
    await send(edge, 'github', issue);
    const paths = ['/webhooks/github/events', `/webhooks/github/events/${ISSUE_EVENT}`];
    for (const path of paths) {
      expect((await edge.fetch(path)).status).toBe(401);
      const headers = bearerHeader(await createToken('alice', ['messages', 'classify', 'prefixes']));
      expect((await edge.fetch(path, { headers })).status).toBe(403);
    }
    const headers = bearerHeader(await createToken('root', ['admin']));
    for (const path of [
      `/webhooks/stripe/events/${ISSUE_EVENT}`,
      '/webhooks/github/events/x',
      '/webhooks/none/events',
    ]) {
      expect((await edge.fetch(path, { headers })).status).toBe(404);
    }
    const replay = await edge.fetch(`/webhooks/stripe/events/${ISSUE_EVENT}/replay`, { method: 'POST', headers });
    expect(replay.status).toBe(404);
  });
});
