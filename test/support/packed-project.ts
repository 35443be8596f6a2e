/** The package as it is packed, installed in a project that has nothing else. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import manifest from '../../package.json' with { type: 'json' };
import { root } from './root.ts';

/** A folder with the package and what it brings. */
export class PackedProject {
  readonly folder: string;
  /** The name of its file in the folder. */
  readonly packed: string;
  readonly tarball: Buffer<ArrayBuffer>;

  private constructor(folder: string, packed: string, tarball: Buffer<ArrayBuffer>) {
    this.folder = folder;
    this.packed = packed;
    this.tarball = tarball;
  }

  /** @param isInstalled whether npm installs it, as others do; else what it brings is that of this checkout, in a third of the time */
  static async create(isInstalled: boolean): Promise<PackedProject> {
    const folder = await mkdtemp(join(tmpdir(), 'sluice-project-'));
    const packed = await runIn(root, 'npm', ['pack', '--json', '--pack-destination', folder]);
    const [, name = ''] = /"filename": "([^"]+\.tgz)"/.exec(packed) ?? [];
    const made = new PackedProject(folder, name, Buffer.from(await readFile(join(folder, name))));
    await made.write('package.json', '{ "private": true, "type": "module" }');
    if (isInstalled) {
      const options = ['--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts'];
      await made.run('npm', ['install', ...options, `./${name}`]);
    } else {
      await mkdir(join(folder, 'node_modules/sluice'), { recursive: true });
      await made.run('tar', ['-xzf', name, '-C', 'node_modules/sluice', '--strip-components=1']);
      for (const brought of [...Object.keys(manifest.dependencies), 'hono']) {
        await mkdir(dirname(join(folder, 'node_modules', brought)), { recursive: true });
        await symlink(join(root, 'node_modules', brought), join(folder, 'node_modules', brought));
      }
    }
    // What a Worker's author has besides.
    await mkdir(join(folder, 'node_modules/@cloudflare'), { recursive: true });
    for (const name of ['@cloudflare/workers-types', 'wrangler']) {
      await symlink(join(root, 'node_modules', name), join(folder, 'node_modules', name));
    }
    await mkdir(join(folder, 'node_modules/.bin'), { recursive: true });
    await symlink('../wrangler/bin/wrangler.js', join(folder, 'node_modules/.bin/wrangler'));
    if (!isInstalled) await symlink('../sluice/dist/scripts/sluice.js', join(folder, 'node_modules/.bin/sluice'));
    return made;
  }

  async remove(): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }

  /** @returns what a command in it, or in a folder of it, has printed */
  async run(command: string, args: string[], folder = '.'): Promise<string> {
    return await runIn(join(this.folder, folder), command, args);
  }

  /**
   * Makes an edge in it by the command of the package. What npm would install there are links to what is here.
   *
   * @returns what the command has said
   */
  async init(name: string, ...options: string[]): Promise<string> {
    const said = await this.run('node_modules/.bin/sluice', ['init', name, ...options]);
    await symlink('../node_modules', join(this.folder, name, 'node_modules'));
    return said;
  }

  async write(name: string, text: string): Promise<void> {
    await writeFile(join(this.folder, name), text);
  }

  /** Checks files of the project, the types of all that they import included. */
  async typeCheck(files: string[], options: Record<string, unknown>): Promise<void> {
    const compilerOptions = {
      strict: true,
      noEmit: true,
      skipLibCheck: false,
      target: 'es2024',
      module: 'nodenext',
      ...options,
    };
    await this.write('tsconfig.json', JSON.stringify({ compilerOptions, files }));
    const compiler = join(root, 'node_modules/typescript/bin/tsc');
    await this.run(process.execPath, [compiler, '-p', '.', '--singleThreaded']).catch((failed: { stdout?: string }) => {
      throw new Error(failed.stdout);
    });
  }
}

async function runIn(cwd: string, command: string, args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(command, args, { cwd, env: { ...process.env, NODE_PATH: '' } });
  return stdout;
}
