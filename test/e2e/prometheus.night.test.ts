/**
 * The metrics read by Prometheus itself: `test/edge/plugins/operator/metrics.route.test.ts` reads them with a grammar of its own.
 * Needs Debian's package `prometheus`.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, inject, onTestFinished, test } from 'vitest';
import type { UsageReport } from '#client/index.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { eventually } from '#test/support/eventually.ts';
import { SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, SECRET } from '#test/support/tokens.ts';
import { startUpstream } from '#test/support/upstream.ts';
import { messageEnd, messageStart, textBlock } from '#test/support/wire.ts';

const RULES = new URL('../../docs/alerts.yml', import.meta.url).pathname;
const RULE_TESTS = new URL('../fixtures/prometheus/alerts.test.yml', import.meta.url).pathname;
const hasPrometheus = ['promtool', 'prometheus'].every((name) => !spawnSync(name, ['--version']).error);
const JSON_HEADERS = { 'content-type': 'application/json' };
const MODELS = ['claude-haiku-5-5', 'claude-opus-5-5'];
/** An hour of one request a second, sent as fast as the edge takes them. */
const REQUESTS = 3_600;
const CALLERS = 12;
const ACCOUNTS = Array.from({ length: 7 }, (_, nth) => `account-${nth}`);
/** An account whose budget is too small for any request. */
const POOR = 'poor';
/** The limit that every response reports. */
const KEY_LIMIT = 10_000;

type UsageSums = UsageReport['data'][number];

/** The sums that are compared: the expression for Prometheus, and the sum in the ledger, both as whole numbers. */
const LEDGER_SUMS: readonly (readonly [metric: string, of: (row: UsageSums) => number])[] = [
  ['sluice_requests_total', ({ requests }) => requests],
  ['sluice_failed_requests_total', ({ failed }) => failed],
  ['1e9 * sluice_cost_usd_total', ({ cost_usd }) => 1e9 * cost_usd],
  ['sluice_tokens_total{kind="input"}', ({ usage }) => usage.input_tokens],
  ['sluice_tokens_total{kind="output"}', ({ usage }) => usage.output_tokens],
  ['sluice_time_to_first_event_seconds_count', ({ speed }) => speed.timed_requests],
  ['sluice_time_to_first_event_seconds_bucket{le="0.5"}', ({ speed }) => speed.ttft_within_ms[500] ?? 0],
  ['1e3 * sluice_time_to_first_event_seconds_sum', ({ speed }) => speed.ttft_ms],
  ['sluice_wait_seconds_count', ({ speed }) => speed.waited_requests],
  ['sluice_wait_seconds_bucket{le="0.1"}', ({ speed }) => speed.waited_within_ms[100] ?? 0],
  ['1e3 * sluice_wait_seconds_sum', ({ speed }) => speed.waited_ms],
];

function createFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-prometheus-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** An edge whose upstream fails every fifth request, and reports the rate limits of its key. */
async function startBusyEdge(): Promise<Edge> {
  let requests = 0;
  const upstream = await startUpstream(({ body }, response) => {
    requests += 1;
    const { model, stream } = JSON.parse(body.toString()) as { model: string; stream?: boolean };
    const limits = {
      'anthropic-ratelimit-requests-limit': String(KEY_LIMIT),
      'anthropic-ratelimit-requests-remaining': String(KEY_LIMIT - requests),
      'anthropic-ratelimit-requests-reset': '2126-11-20T12:00:00Z',
    };
    if (requests % 5 === 0) {
      response.writeHead(529, { ...JSON_HEADERS, ...limits });
      response.end(JSON.stringify({ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }));
    } else if (stream) {
      response.writeHead(200, { 'content-type': 'text/event-stream', ...limits });
      response.end(messageStart({ model }) + textBlock(['Hi']) + messageEnd({ output_tokens: 50 }));
    } else {
      response.writeHead(200, { ...JSON_HEADERS, ...limits });
      response.end(JSON.stringify({ ...SMALL_MESSAGE, model }));
    }
  });
  onTestFinished(() => upstream.stop());
  const edge = await startEdge(inject('worker'), {
    SIGNING_SECRET: SECRET,
    ANTHROPIC_API_KEY: 'key',
    ANTHROPIC_BASE_URL: upstream.url,
    UPSTREAM_MAX_RETRIES: '0',
    DEPLOYMENT_LIMITS: '{"usd_per_day": 100}',
  });
  onTestFinished(() => edge.stop());
  return edge;
}

/** Starts Prometheus, which scrapes the edge every second. @returns a function that evaluates an expression */
async function startPrometheus(edge: Edge, token: string): Promise<(query: string) => Promise<Map<string, number>>> {
  const folder = createFolder();
  writeFileSync(join(folder, 'token'), token);
  const { host } = new URL(edge.url);
  const scrape = `{job_name: sluice, scrape_interval: 1s, scrape_timeout: 1s, authorization: {credentials_file: token}, static_configs: [{targets: ["${host}"]}]}`;
  writeFileSync(join(folder, 'prometheus.yml'), `rule_files: ["${RULES}"]\nscrape_configs:\n  - ${scrape}\n`);
  const port = await findFreePort();
  const args = [
    `--config.file=${join(folder, 'prometheus.yml')}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
  ];
  const server = spawn('prometheus', args, { stdio: 'ignore' });
  onTestFinished(async () => {
    server.kill();
    await once(server, 'exit');
  });
  return async (query) => {
    const url = `http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(query)}`;
    const { data } = (await (await fetch(url)).json()) as {
      data: { result: { metric: Record<string, string>; value: [number, string] }[] };
    };
    return new Map(data.result.map(({ metric, value }) => [Object.values(metric).join(' '), Number(value[1])]));
  };
}

test.skipIf(!hasPrometheus)('the alert rules are valid, and pass their promtool tests', () => {
  expect(execFileSync('promtool', ['check', 'rules', RULES], { encoding: 'utf8' })).toContain('SUCCESS: 8 rules found');
  expect(execFileSync('promtool', ['test', 'rules', RULE_TESTS], { encoding: 'utf8' })).toContain('SUCCESS');
});

test.skipIf(!hasPrometheus)(
  'the sums that Prometheus scrapes equal those of the ledgers, and promtool finds no fault',
  { timeout: 3_600_000 },
  async () => {
    const edge = await startBusyEdge();
    const admin = await createToken('root', ['admin']);
    const query = await startPrometheus(edge, await createToken('prometheus', ['admin:metrics']));
    await fetch(`${edge.url}/accounts/${POOR}/limits`, {
      method: 'PUT',
      headers: { ...JSON_HEADERS, ...bearerHeader(admin) },
      body: JSON.stringify({ usd_per_day: 0.000001 }),
    });
    const callers = await Promise.all(
      [...ACCOUNTS, POOR].map(async (account) => bearerHeader(await createToken(account))),
    );
    let sent = 0;
    const sendRequests = async () => {
      while (sent < REQUESTS) {
        const nth = sent;
        sent += 1;
        const response = await fetch(`${edge.url}/v1/messages`, {
          method: 'POST',
          headers: { ...JSON_HEADERS, ...callers[nth % callers.length] },
          body: JSON.stringify({
            model: MODELS[nth % 3 === 0 ? 1 : 0],
            max_tokens: 100,
            stream: nth % 2 === 0,
            messages: [{ role: 'user', content: `Question ${nth}` }],
          }),
        });
        await response.text();
      }
    };
    await Promise.all(Array.from({ length: CALLERS }, sendRequests));
    const readUsage = async (account: string) => {
      const usage = await fetch(`${edge.url}/usage?group_by=model&account=${account}`, {
        headers: bearerHeader(admin),
      });
      return ((await usage.json()) as UsageReport).data;
    };
    await eventually(async () => {
      const rows = (await Promise.all(ACCOUNTS.map(readUsage))).flat();
      const rejected = REQUESTS / callers.length;
      expect(rows.reduce((sum, { requests }) => sum + requests, 0)).toBe(REQUESTS - rejected);
      for (const [metric, of] of LEDGER_SUMS) {
        const sums = new Map<string, number>();
        for (const row of rows) sums.set(String(row.key), (sums.get(String(row.key)) ?? 0) + Math.round(of(row)));
        const scraped = [...(await query(`sum by (model) (${metric})`))].map(([model, sum]) => [
          model,
          Math.round(sum),
        ]);
        expect(Object.fromEntries(scraped), metric).toEqual(Object.fromEntries(sums));
      }
      expect([...(await query('sum(sluice_rejected_requests_total)')).values()]).toEqual([rejected]);
    });
    expect((await query('sluice_pool_up')).size).toBe(1);
    // An isolate reports the limits at most every ten seconds, so these are not always those of the last response.
    const [remaining = 0] = (await query('min(sluice_key_limit_remaining)')).values();
    expect(remaining).toBeGreaterThanOrEqual(KEY_LIMIT - REQUESTS);
    expect(remaining).toBeLessThan(KEY_LIMIT);
    const metrics = await fetch(`${edge.url}/metrics?isolate`, {
      headers: { accept: 'text/plain', ...bearerHeader(admin) },
    });
    expect(metrics.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    const checked = spawnSync('promtool', ['check', 'metrics'], { input: await metrics.text(), encoding: 'utf8' });
    expect([checked.status, checked.stdout + checked.stderr]).toEqual([0, '']);
  },
);
