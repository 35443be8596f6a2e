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
import { type Edge, startEdge } from '#test/support/edge.ts';
import { eventually } from '#test/support/eventually.ts';
import { SMALL_MESSAGE } from '#test/support/small-message.ts';
import { bearerHeader, createToken, SECRET } from '#test/support/tokens.ts';
import { startUpstream } from '#test/support/upstream.ts';

const RULES = new URL('../../docs/alerts.yml', import.meta.url).pathname;
const RULE_TESTS = new URL('../fixtures/prometheus/alerts.test.yml', import.meta.url).pathname;
const hasPrometheus = ['promtool', 'prometheus'].every((name) => !spawnSync(name, ['--version']).error);
const JSON_HEADERS = { 'content-type': 'application/json' };
const MODELS = ['claude-haiku-5-5', 'claude-opus-5-5'];
const REQUESTS = 300;

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
    const { model } = JSON.parse(body.toString()) as { model: string };
    const limits = {
      'anthropic-ratelimit-requests-limit': '1000',
      'anthropic-ratelimit-requests-remaining': String(1_000 - requests),
      'anthropic-ratelimit-requests-reset': '2126-11-20T12:00:00Z',
    };
    if (requests % 5 === 0) {
      response.writeHead(529, { ...JSON_HEADERS, ...limits });
      response.end(JSON.stringify({ type: 'error', error: { type: 'overloaded_error', message: 'Overloaded' } }));
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

test.skipIf(!hasPrometheus)('the alert rules are valid, and each fires when it should', () => {
  expect(execFileSync('promtool', ['check', 'rules', RULES], { encoding: 'utf8' })).toContain('SUCCESS: 5 rules found');
  expect(execFileSync('promtool', ['test', 'rules', RULE_TESTS], { encoding: 'utf8' })).toContain('SUCCESS');
});

test.skipIf(!hasPrometheus)(
  'the sums that Prometheus scrapes equal those of the ledgers, and promtool finds no fault',
  async () => {
    const edge = await startBusyEdge();
    const admin = await createToken('root', ['admin']);
    const query = await startPrometheus(edge, await createToken('prometheus', ['admin:metrics']));
    for (let nth = 0; nth < REQUESTS; nth += 1) {
      const response = await fetch(`${edge.url}/v1/messages`, {
        method: 'POST',
        headers: { ...JSON_HEADERS, ...bearerHeader(await createToken(`account-${nth % 7}`)) },
        body: JSON.stringify({
          model: MODELS[nth % 2],
          max_tokens: 100,
          messages: [{ role: 'user', content: `Question ${nth}` }],
        }),
      });
      await response.text();
    }
    const readUsage = async () => {
      const usage = await fetch(`${edge.url}/usage?group_by=model`, { headers: bearerHeader(admin) });
      return (await usage.json()) as { data: { key: string; requests: number; failed: number; cost_usd: number }[] };
    };
    await eventually(async () => {
      const { data } = await readUsage();
      expect(data.reduce((sum, { requests }) => sum + requests, 0)).toBe(REQUESTS);
      const of = (pick: (row: (typeof data)[number]) => number) => new Map(data.map((row) => [row.key, pick(row)]));
      expect(await query('sum by (model) (sluice_requests_total)')).toEqual(of(({ requests }) => requests));
      expect(await query('sum by (model) (sluice_failed_requests_total)')).toEqual(of(({ failed }) => failed));
      expect(await query('sum by (model) (sluice_cost_usd_total)')).toEqual(of(({ cost_usd }) => cost_usd));
    });
    expect((await query('sluice_pool_up')).size).toBe(1);
    expect([...(await query('min(sluice_key_limit_remaining)')).values()]).toEqual([1_000 - REQUESTS]);
    const metrics = await fetch(`${edge.url}/metrics?isolate`, {
      headers: { accept: 'text/plain', ...bearerHeader(admin) },
    });
    expect(metrics.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    const checked = spawnSync('promtool', ['check', 'metrics'], { input: await metrics.text(), encoding: 'utf8' });
    expect([checked.status, checked.stdout + checked.stderr]).toEqual([0, '']);
  },
);
