/** A checkout to deploy from, and a stand-in for Cloudflare. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { appendFile, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { expect, inject } from 'vitest';
import { readConfig } from '../../scripts/read-config.ts';
import { blocksOf, readGuide, sectionIn } from './guides.ts';
import { root } from './root.ts';
import { type Ended, runScript } from './run-script.ts';

/** What the stand-in for wrangler knows of an account at Cloudflare, kept in a file. */
interface Cloud {
  loggedIn: boolean;
  queues: string[];
  secrets: Record<string, string[]>;
  targets: string[];
  /** The commands that it was given. */
  commands: string[][];
}

/** What is bundled is uploaded as it is. */
export const DEPLOY = ['deploy', '.wrangler/worker/index.js', '--no-bundle', '--minify=false'];
export const SECRETS = ['ANTHROPIC_API_KEY', 'SIGNING_SECRET'];

/** What wrangler.toml names: most deployments find them. */
const QUEUES = ['', '-staging'].flatMap((end) => [`sluice-webhooks${end}`, `sluice-webhooks${end}-dead`]);

/** Stand in for what takes seconds, in tests of everything else. */
export const QUICK = {
  'scripts/build.ts': 'export const build = async () => {};',
  'scripts/bundle.ts': "export const bundleWorker = async () => ({ code: 'export default {};', map: '{}' });",
  // What it reads is read beforehand, by the same words: to load wrangler is most of what a deployment computes.
  'scripts/read-config.ts': `import { readFileSync } from 'node:fs';
export const readConfig = () => {
  const { config, fault } = JSON.parse(readFileSync(new URL('../config.json', import.meta.url), 'utf8'));
  if (fault !== undefined) throw new Error(fault);
  return config;
};`,
};

/** Stands in for the bundler with what is bundled already: it is the same for all. */
const AS_BUILT = `import { readFileSync } from 'node:fs';
const built = JSON.parse(readFileSync(new URL('../built.json', import.meta.url), 'utf8'));
export const bundleWorker = async () => built;`;

/** Looks at what wrangler itself has said of a deployment that it did not make. */
export function expectDryRun({ status, stdout, stderr }: SpawnSyncReturns<string>): void {
  expect(status, stderr).toBe(0);
  expect(stdout).toContain('env.ACCOUNT (Account)');
  expect(stdout).toContain('--dry-run: exiting now.');
  expect(stdout + stderr).not.toContain('WARNING');
}

/** Runs a deployment's script with these variables, and says how it has ended. */
type Run = (script: string, args: readonly string[], env: Record<string, string>) => Promise<Ended>;

/** A copy of this checkout, whose scripts are stand-ins where they take long, and the edge that it deploys. */
export class DeployCheckout {
  answer = { status: 200, body: '{"status":"ok","upstream":"anthropic"}' };
  readonly folder: string;
  /** The text of its wrangler.toml, before a test has changed it. */
  readonly configuration: string;
  readonly #edge = createServer((_, response) => response.writeHead(this.answer.status).end(this.answer.body));

  private constructor(folder: string, configuration: string) {
    this.folder = folder;
    this.configuration = configuration;
  }

  static async make(): Promise<DeployCheckout> {
    const folder = await mkdtemp(join(tmpdir(), 'sluice-deploy-test-'));
    for (const name of ['scripts', 'README.md', 'package.json', 'tsconfig.json', 'wrangler.toml']) {
      await cp(join(root, name), join(folder, name), { recursive: true });
    }
    for (const [name, code] of Object.entries(QUICK)) await writeFile(join(folder, name), code);
    for (const name of ['src', 'docs', 'node_modules']) await symlink(join(root, name), join(folder, name));
    await mkdir(join(folder, 'bin'));
    await symlink(join(root, 'test/scripts/wrangler.mjs'), join(folder, 'bin/wrangler'));
    const made = new DeployCheckout(folder, await readFile(join(root, 'wrangler.toml'), 'utf8'));
    await new Promise<void>((resolve) => made.#edge.listen(0, 'localhost', resolve));
    return made;
  }

  async end(): Promise<void> {
    this.#edge.close();
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Where the edge is that a deployment finds. */
  get address(): string {
    return `http://localhost:${(this.#edge.address() as AddressInfo).port}`;
  }

  /** Puts lines into wrangler.toml, or takes them out again. */
  async configure(lines = ''): Promise<void> {
    const text = this.configuration.replace('[observability]', `${lines}\n\n[observability]`);
    await writeFile(join(this.folder, 'wrangler.toml'), lines === '' ? this.configuration : text);
  }

  /** Adds the environment `production` as the guide to the first day does. */
  async addProduction(): Promise<void> {
    const section = sectionIn(await readGuide('production'), '2. Name the deployment and its domain');
    const [[commands = ''], [settings = '']] = [blocksOf(section, 'sh'), blocksOf(section, 'toml')];
    const { status, stderr } = spawnSync('bash', ['-ec', commands], { cwd: this.folder, encoding: 'utf8' });
    expect(status, stderr).toBe(0);
    await appendFile(join(this.folder, 'wrangler.toml'), settings);
  }

  /** Reads wrangler.toml for a deployment, as it is or as it cannot be read, for the stand-in that reads nothing else. */
  async putConfig(args: readonly string[]): Promise<void> {
    const env = args.includes('--env') ? args[args.indexOf('--env') + 1] : undefined;
    const read = () => {
      try {
        return { config: readConfig(join(this.folder, 'wrangler.toml'), env === '' ? undefined : env) };
      } catch (thrown) {
        return { fault: thrown instanceof Error ? thrown.message : String(thrown) };
      }
    };
    await writeFile(join(this.folder, 'config.json'), JSON.stringify(read()));
  }

  /** Deploys from it. @returns what was said, and what Cloudflare knows now */
  async deploy(cloud: Partial<Cloud> = {}, args: readonly string[] = [], run: Run = runScript) {
    const file = join(this.folder, 'cloud.json');
    const before: Cloud = {
      loggedIn: true,
      queues: QUEUES,
      secrets: { '': SECRETS },
      targets: [this.address],
      commands: [],
      ...cloud,
    };
    await writeFile(file, JSON.stringify(before));
    await this.putConfig(args);
    const { status, stdout, stderr } = await run(join(this.folder, 'scripts/deploy.ts'), args, {
      PATH: `${join(this.folder, 'bin')}${delimiter}${process.env.PATH}`,
      CLOUD: file,
      HEALTH_TIMEOUT_MS: '100',
    });
    const after = JSON.parse(await readFile(file, 'utf8')) as Cloud;
    const verbs = after.commands.map(([verb, what]) => (verb === 'deploy' ? verb : `${verb} ${what}`));
    return { status, output: stdout + stderr, after, verbs };
  }

  /** Has wrangler itself say what it would upload. */
  async dryRun(more: readonly string[] = []): Promise<void> {
    const args = ['--dry-run', ...more];
    await cp(join(root, 'build'), join(this.folder, 'build'), { recursive: true });
    await writeFile(join(this.folder, 'built.json'), JSON.stringify(inject('deployed')));
    await writeFile(join(this.folder, 'scripts/bundle.ts'), AS_BUILT);
    await this.putConfig(args);
    const dry = spawnSync(process.execPath, ['scripts/deploy.ts', ...args], { cwd: this.folder, encoding: 'utf8' });
    await writeFile(join(this.folder, 'scripts/bundle.ts'), QUICK['scripts/bundle.ts']);
    expectDryRun(dry);
    expect(await readFile(join(this.folder, '.wrangler/worker/index.js'), 'utf8')).toBe(inject('deployed').code);
  }
}
