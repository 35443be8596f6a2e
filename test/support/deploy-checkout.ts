/** A checkout to deploy from, and a stand-in for Cloudflare. */
import { spawnSync } from 'node:child_process';
import { appendFile, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { expect } from 'vitest';
import { codeBlocksOf, readGuide, sectionOf } from './guides.ts';
import { root } from './root.ts';
import { runScript } from './run-script.ts';

/** What the stand-in for wrangler knows of an account at Cloudflare, kept in a file. */
interface Cloud {
  loggedIn: boolean;
  queues: string[];
  secrets: Record<string, string[]>;
  /** The commands that it was given. */
  commands: string[][];
}

export const SECRETS = ['ANTHROPIC_API_KEY', 'SIGNING_SECRET'];

/** What wrangler.toml names: most deployments find them. */
const QUEUES = ['', '-staging'].flatMap((end) => [`sluice-webhooks${end}`, `sluice-webhooks${end}-dead`]);

/** A copy of this checkout to deploy from, with a stand-in for wrangler. */
export class DeployCheckout {
  readonly folder: string;
  /** The text of its wrangler.toml, before a test has changed it. */
  readonly configuration: string;

  private constructor(folder: string, configuration: string) {
    this.folder = folder;
    this.configuration = configuration;
  }

  static async create(): Promise<DeployCheckout> {
    const folder = await mkdtemp(join(tmpdir(), 'sluice-deploy-test-'));
    for (const name of ['scripts', 'README.md', 'package.json', 'tsconfig.json', 'wrangler.toml']) {
      await cp(join(root, name), join(folder, name), { recursive: true });
    }
    for (const name of ['src', 'docs', 'node_modules']) await symlink(join(root, name), join(folder, name));
    await mkdir(join(folder, 'bin'));
    await symlink(join(root, 'test/scripts/wrangler.mjs'), join(folder, 'bin/wrangler'));
    return new DeployCheckout(folder, await readFile(join(root, 'wrangler.toml'), 'utf8'));
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }

  /** Puts lines into wrangler.toml, or takes them out again. */
  async setExtraConfiguration(lines = ''): Promise<void> {
    const text = this.configuration.replace('[observability]', `${lines}\n\n[observability]`);
    await writeFile(join(this.folder, 'wrangler.toml'), lines === '' ? this.configuration : text);
  }

  /** Adds the environment `production` as the guide to the first day does. */
  async addProduction(): Promise<void> {
    const section = sectionOf(await readGuide('production'), '2. Name the deployment and its domain');
    const [[commands = ''], [settings = '']] = [codeBlocksOf(section, 'sh'), codeBlocksOf(section, 'toml')];
    const { status, stderr } = spawnSync('bash', ['-ec', commands], { cwd: this.folder, encoding: 'utf8' });
    expect(status, stderr).toBe(0);
    await appendFile(join(this.folder, 'wrangler.toml'), settings);
  }

  /** Deploys from it. @returns what was said, and what Cloudflare knows now */
  async deploy(cloud: Partial<Cloud> = {}, args: readonly string[] = []) {
    const file = join(this.folder, 'cloud.json');
    const before: Cloud = { loggedIn: true, queues: QUEUES, secrets: { '': SECRETS }, commands: [], ...cloud };
    await writeFile(file, JSON.stringify(before));
    const { status, stdout, stderr } = await runScript(join(this.folder, 'scripts/deploy.ts'), args, {
      PATH: `${join(this.folder, 'bin')}${delimiter}${process.env.PATH}`,
      CLOUD: file,
    });
    const after = JSON.parse(await readFile(file, 'utf8')) as Cloud;
    const verbs = after.commands.map(([verb, what]) => (verb === 'deploy' ? verb : `${verb} ${what}`));
    return { status, output: stdout + stderr, after, verbs };
  }

  /** Has wrangler itself say what it would upload. */
  dryRun(more: readonly string[] = []): void {
    const args = ['run', '--silent', 'deploy', '--', '--dry-run', ...more];
    const { status, stdout, stderr } = spawnSync('npm', args, { cwd: this.folder, encoding: 'utf8' });
    expect(status, stdout + stderr).toBe(0);
    expect(stdout).toContain('env.ACCOUNT (Account)');
    expect(stdout).toContain('--dry-run: exiting now.');
    expect(stdout + stderr).not.toContain('WARNING');
  }
}
