import { describe, expect, test } from 'vitest';
import { createUnansweredOutcome } from '#edge/claude/outcome.ts';
import { sendToUpstream } from '#edge/claude/send.ts';
import { getUpstreamBySettings, type Upstream } from '#edge/claude/upstream.ts';
import { chooseUpstreamForNewResource } from '#edge/claude/upstreams/choose-upstream.ts';
import { NoUpstreamError } from '#edge/claude/upstreams/pool.ts';
import { parseSettings } from '#edge/config/settings.ts';

const MODEL = 'claude-opus-5-5';
const SIGNING = 'AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY';
const main = { name: 'main', kind: 'anthropic' };
const second = { name: 'second', kind: 'anthropic', base_url: 'https://second.test' };
const bedrock = { name: 'east', kind: 'bedrock', region: 'us-east-1' };
const foundry = { name: 'blue', kind: 'foundry', resource: 'r' };
const signed = { name: 'signed', kind: 'aws', region: 'us-east-1', workspace: 'w' };

let lists = 0;

/** The upstreams of a deployment. Each call makes breakers of its own. */
function deployment(entries: readonly Record<string, unknown>[], fetch: Upstream['fetch'] = () => Promise.reject()) {
  lists += 1;
  const UPSTREAMS = JSON.stringify(entries.map((one) => ({ ...one, first_byte_ms: 10_000 + lists })));
  const keys = entries.map(({ name }) => [`UPSTREAM_${String(name).toUpperCase()}_KEY`, 'key']);
  const vars = { ...Object.fromEntries(keys), UPSTREAM_SIGNED_KEY: SIGNING };
  const upstream = getUpstreamBySettings(parseSettings({ UPSTREAMS, ...vars }), fetch);
  if (!upstream.pool) throw new Error('no pool');
  return { upstream, pool: upstream.pool };
}

function refusal(make: () => unknown): { status: number; message: string } {
  try {
    make();
  } catch (thrown) {
    if (!(thrown instanceof NoUpstreamError)) throw thrown;
    return { status: thrown.status, message: thrown.message };
  }
  throw new Error('not refused');
}

describe('the upstream for a new batch or file', () => {
  test('is the first upstream that supports batches or files', () => {
    const { pool } = deployment([bedrock, signed, foundry, main]);
    expect(chooseUpstreamForNewResource(pool, 'files')).toBe('blue');
    expect(chooseUpstreamForNewResource(pool, 'batches')).toBe('main');
    expect(chooseUpstreamForNewResource(pool, 'batches', MODEL)).toBe('main');
  });

  test('is one that serves the model', () => {
    const { pool } = deployment([{ ...main, models: ['claude-haiku-5-5'] }, second]);
    expect(chooseUpstreamForNewResource(pool, 'batches', MODEL)).toBe('second');
    expect(chooseUpstreamForNewResource(pool, 'batches', 'claude-haiku-5-5')).toBe('main');
  });

  test('is one whose breakers for the model and for the upstream are closed', () => {
    for (const model of [undefined, MODEL]) {
      const { pool } = deployment([main, second]);
      const breaker = pool.health.getBreaker('main', model ?? '');
      breaker.recordFailure({ isProbe: false, generation: 0 }, Date.now(), 60_000);
      expect(chooseUpstreamForNewResource(pool, 'batches', MODEL)).toBe('second');
      pool.health.getBreaker('second', '').recordFailure({ isProbe: false, generation: 0 }, Date.now(), 1_000);
      // Both are down: the one that is due first.
      expect(chooseUpstreamForNewResource(pool, 'batches', MODEL)).toBe('second');
    }
  });

  test('is a 400 or 404 error with the reason if no upstream is suitable', () => {
    const { pool } = deployment([{ ...main, models: ['claude-haiku-5-5'] }, bedrock]);
    const { status, message } = refusal(() => chooseUpstreamForNewResource(pool, 'batches', MODEL));
    expect([status, message]).toEqual([400, `No upstream for ${MODEL} supports message batches. Use a model of main.`]);
    const { pool: none } = deployment([bedrock, signed]);
    const sentence = refusal(() => chooseUpstreamForNewResource(none, 'files')).message;
    expect(sentence).toBe(
      'No upstream of this deployment supports files. Ask its operator to add an upstream that does.',
    );
    const { pool: narrow } = deployment([{ ...main, models: ['claude-haiku-5-5'] }]);
    expect(refusal(() => chooseUpstreamForNewResource(narrow, 'batches', MODEL)).status).toBe(404);
  });
});

describe('a resource created at one upstream', () => {
  const asked: string[] = [];
  const ask = async (entries: readonly Record<string, unknown>[], only: string, path: string, model?: string) => {
    asked.length = 0;
    const { upstream } = deployment(entries, async (url, init) => {
      asked.push(`${init.method} ${url}`);
      return Response.json({ type: 'error', error: { type: 'overloaded_error', message: 'No.' } }, { status: 529 });
    });
    const controller = new AbortController();
    const course = { sentAt: undefined };
    const routing = { streams: false, requiredUpstream: only, model };
    const request = { method: 'GET', path, headers: {}, routing };
    return await sendToUpstream(upstream, request, {
      maxRetries: 0,
      timeoutMs: 1_000,
      controller,
      progress: course,
      payment: 'free',
      createFailedOutcome: () => createUnansweredOutcome(course, Date.now()),
    });
  };

  test('is requested only from that upstream', async () => {
    expect((await ask([main, second], 'second', '/v1/files/file_1?beta=true')).status).toBe(529);
    expect(asked).toEqual(['GET https://second.test/v1/files/file_1?beta=true']);
    await ask([main, signed], 'signed', '/v1/messages/batches/msgbatch_1');
    expect(asked).toEqual(['GET https://aws-external-anthropic.us-east-1.api.aws/v1/messages/batches/msgbatch_1']);
  });

  test('returns a 404 that names the upstream after its removal', async () => {
    const gone = ask([main, second], 'third', '/v1/files/file_1');
    await expect(gone).rejects.toMatchObject({ status: 404, type: 'not_found_error' });
    await expect(gone).rejects.toThrow('data of the upstream third, which was removed from this deployment');
    const alone = getUpstreamBySettings(parseSettings({ ANTHROPIC_API_KEY: 'key' }), () => Promise.reject());
    const request = {
      method: 'GET',
      path: '/v1/files/f',
      headers: {},
      routing: { streams: false, requiredUpstream: 'third' },
    };
    const options = {
      maxRetries: 0,
      timeoutMs: 1_000,
      controller: new AbortController(),
      progress: { sentAt: undefined },
      createFailedOutcome: () => createUnansweredOutcome({ sentAt: undefined }, Date.now()),
    };
    await expect(sendToUpstream(alone, request, options)).rejects.toMatchObject({ status: 404 });
    expect(asked).toEqual([]);
  });

  test('returns a 400 if that upstream does not support the call or the model', async () => {
    const files = ask([main, bedrock], 'east', '/v1/files/file_1');
    await expect(files).rejects.toMatchObject({
      status: 400,
      message: expect.stringMatching(/east.* does not support files/),
    });
    const model = ask([{ ...main, models: ['claude-haiku-5-5'] }, second], 'main', '/v1/messages', MODEL);
    await expect(model).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining(`does not support ${MODEL}`),
    });
    expect(asked).toEqual([]);
  });
});
