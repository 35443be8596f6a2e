/** What the guide "Your first day in production" has an operator write and run. */
import { execFileSync } from 'node:child_process';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { jwtVerify } from 'jose';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { unstable_readConfig } from 'wrangler';
import { parse } from 'yaml';
import { settingsShape } from '#edge/config/settings.ts';
import manifest from '../../package.json' with { type: 'json' };
import '../../scripts/all-plugins.mjs';
import { DeployCheckout, SECRETS } from '#test/support/deploy-checkout.ts';
import { codeBlocksOf, readGuide, sectionOf } from '#test/support/guides.ts';
import { root } from '#test/support/root.ts';

interface Step {
  run?: string;
  uses?: string;
  env?: Record<string, string>;
}

interface Workflow {
  on: Record<string, unknown>;
  jobs: Record<string, { if?: string; steps: Step[] }>;
}

const DOMAIN = 'claude.example.org';

const guide = await readGuide('production');
const [file = ''] = codeBlocksOf(guide, 'yaml');
const workflow = parse(file) as Workflow;
const steps = Object.values(workflow.jobs).flatMap((job) => job.steps);

let checkout: DeployCheckout;

beforeAll(async () => {
  checkout = await DeployCheckout.create();
  await checkout.addProduction();
});

afterAll(() => checkout.remove());

test('the environment of the production guide has its domain, its settings, and everything else that staging has', () => {
  const path = join(checkout.folder, 'wrangler.toml');
  const read = (env: string) => {
    const { routes, vars, ratelimits, ...rest } = unstable_readConfig({ config: path, env }, { hideWarnings: true });
    const alike = JSON.stringify({ ...rest, definedEnvironments: [] }).replaceAll(env, 'ENV');
    return { routes, vars, ratelimits, rest: JSON.parse(alike) as object };
  };
  const [made, staging] = [read('production'), read('staging')];
  expect(made.routes).toEqual([{ pattern: DOMAIN, custom_domain: true }]);
  expect(Object.keys(made.vars)).toEqual(['DEFAULT_LIMITS', 'DEPLOYMENT_LIMITS', 'ALERT_URL']);
  expect(made.rest).toEqual(staging.rest);
  expect(made.ratelimits[0]?.namespace_id).not.toBe(staging.ratelimits[0]?.namespace_id);
});

test("the deploy command of the production guide's workflow succeeds, and its output ends as the guide shows", async () => {
  const [, words = ''] = /^npm run deploy -- (.+)$/.exec(workflow.jobs.deploy?.steps.at(-1)?.run ?? '') ?? [];
  expect(sectionOf(guide, '3. Deploy')).toContain(`npm run deploy -- ${words}\n`);
  const secrets = { production: [...SECRETS, 'DELIVERY_SIGNING_SECRET'] };
  const { status, output } = await checkout.deploy({ secrets }, words.split(' '));
  expect(status, output).toBe(0);
  const [shown = ''] = codeBlocksOf(sectionOf(guide, '3. Deploy'), 'text');
  expect(output.trim().endsWith(shown.trim()), output).toBe(true);
});

test('the workflow of the production guide runs existing scripts, with secrets that the guide explains', async () => {
  expect(Object.keys(workflow.on)).toEqual(['push', 'schedule', 'workflow_dispatch']);
  expect(steps.length).toBeGreaterThan(5);
  for (const { run, uses } of steps) {
    if (run === undefined) expect(uses).toMatch(/^actions\/[\w-]+@v\d+$/);
    else if (run === 'npm ci') await access(join(root, 'package-lock.json'));
    else expect(Object.keys(manifest.scripts)).toContain(/^npm run (?:--silent )?([\w:-]+)/m.exec(run)?.[1]);
  }
  const secrets = new Set([...file.matchAll(/secrets\.(\w+)/g)].map(([, name = '']) => name));
  const explained = [...guide.matchAll(/^- `([A-Z_]+)`: /gm)].map(([, name = '']) => name);
  expect(explained).toEqual([...secrets]);
});

test('the commands of the production guide create valid secrets and a token signed with SIGNING_SECRET', async () => {
  const bash = (commands: string, input = '') =>
    execFileSync('bash', ['-ec', commands], { cwd: root, encoding: 'utf8', input });
  const [make = ''] = codeBlocksOf(sectionOf(guide, '3. Deploy'), 'sh');
  const [signing = '', delivery] = bash(make).split('\n');
  const { SIGNING_SECRET, DELIVERY_SIGNING_SECRET } = settingsShape();
  expect([SIGNING_SECRET?.parse(signing), DELIVERY_SIGNING_SECRET?.parse(delivery)]).toEqual([signing, delivery]);
  const [paste = '', mint = ''] = codeBlocksOf(sectionOf(guide, '4. Check it'), 'sh');
  const token = bash(`${paste}${mint}echo "$SLUICE_TOKEN"`, `${signing}\n`).trim();
  const { payload } = await jwtVerify(token, new TextEncoder().encode(signing));
  expect(payload).toMatchObject({ sub: 'you', scope: 'admin' });
});
