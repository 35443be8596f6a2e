/**
 * Has simulations and their sources as modules of this process. With a mistake in it a source is made anew, and what imports
 * it, directly or not: the others, by far the most, are there once. No file is changed.
 */
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { compileFunction } from 'node:vm';
import { stop, transform } from 'esbuild';
import type { Mutation } from './mutations.ts';
import { OBJECTS } from './mutations.ts';
import type { Failure, Search } from './property.ts';

/** A simulation of one object, which looks for a schedule under which something does not hold. */
export interface Simulation {
  find(options: Search): Promise<Failure | undefined>;
}

type Exports = Record<string, unknown>;

interface Source {
  text: string;
  /** The modules that it imports, by how it names them: sources by their addresses. */
  needs: ReadonlyMap<string, string>;
  run(require: (name: string) => Exports, module: { exports: Exports }): void;
}

const ROOT = new URL('../../', import.meta.url);
const ROOMS = new URL('src/edge/kit/rooms/rooms.ts', ROOT).href;
/** What the runtime has of its own. */
const STAND_INS = new Map([['cloudflare:workers', new URL('./workers.ts', import.meta.url).href]]);
const simulationOf = (object: Mutation['object']) => new URL(`./${object}.ts`, import.meta.url).href;

/** Compiles a source. */
async function sourceOf(address: string, text: string): Promise<Source> {
  const { code } = await transform(text, { loader: 'ts', format: 'cjs', target: 'esnext' });
  const names = [...code.matchAll(/\brequire\("([^"]+)"\)/g)].map(([, name = '']) => name);
  const needs = names.map((name) => {
    const stand = STAND_INS.get(name) ?? (name.startsWith('.') ? new URL(name, address).href : name);
    return [name, stand] as const;
  });
  const run = compileFunction(code, ['require', 'module'], { filename: fileURLToPath(address) });
  return { text, needs: new Map(needs), run: run as Source['run'] };
}

/** Puts a mistake into a source. @throws Error where what it replaces does not stand there once */
function mistaken(text: string, { name, edits }: Mutation): string {
  return edits.reduce((before, [right, wrong]) => {
    if (before.split(right).length !== 2) throw new Error(`${name}: not found once: ${right}`);
    return before.replace(right, () => wrong);
  }, text);
}

export class Simulations {
  /** What is read, or is being read. */
  readonly #begun = new Set<string>();
  readonly #sources = new Map<string, Source>();
  /** What is not compiled here: packages, and what Node has. */
  readonly #packages = new Map<string, Exports>();
  /** Modules without a mistake. */
  readonly #made = new Map<string, { exports: Exports }>();

  /** Reads and compiles all simulations, with all that they import. */
  static async load(): Promise<Simulations> {
    const all = new Simulations();
    await Promise.all(OBJECTS.map((object) => all.#read(simulationOf(object))));
    return all;
  }

  /** @returns the simulation of an object as it is */
  right(object: Mutation['object']): Simulation {
    return this.#link(simulationOf(object), this.#sources, this.#made) as unknown as Simulation;
  }

  /** @returns the simulation of an object with a mistake in it */
  async wrong(mutation: Mutation): Promise<Simulation> {
    const address = new URL(mutation.file, ROOT).href;
    const right = this.#sources.get(address);
    if (!right) throw new Error(`No simulation imports ${mutation.file}.`);
    const sources = new Map(this.#sources).set(address, await sourceOf(address, mistaken(right.text, mutation)));
    // The list of rooms is set once in each world, and has what the mistake has changed.
    const affected = new Set([address, ROOMS].flatMap((one) => [...this.#importersOf(one)]));
    // Everything is made once without the mistake, so that the rest is there.
    this.right(mutation.object);
    const made = new Map([...this.#made].filter(([made]) => !affected.has(made)));
    return this.#link(simulationOf(mutation.object), sources, made) as unknown as Simulation;
  }

  /** Ends the compiler. */
  async end(): Promise<void> {
    await stop();
  }

  async #read(address: string): Promise<void> {
    if (this.#begun.has(address)) return;
    this.#begun.add(address);
    if (!address.startsWith('file:')) {
      this.#packages.set(address, { ...(await import(address)), __esModule: true });
      return;
    }
    const source = await sourceOf(address, await readFile(fileURLToPath(address), 'utf8'));
    this.#sources.set(address, source);
    await Promise.all([...source.needs.values()].map((needed) => this.#read(needed)));
  }

  /** @returns a source, and all that import it, directly or not */
  #importersOf(address: string): ReadonlySet<string> {
    const found = new Set([address]);
    // A set goes on to what is added to it meanwhile.
    for (const one of found) {
      for (const [importer, { needs }] of this.#sources) {
        if ([...needs.values()].includes(one)) found.add(importer);
      }
    }
    return found;
  }

  #link(address: string, sources: ReadonlyMap<string, Source>, made: Map<string, { exports: Exports }>): Exports {
    const known = this.#packages.get(address) ?? made.get(address)?.exports;
    if (known) return known;
    const source = sources.get(address);
    if (!source) throw new Error(`${address} was not read.`);
    // It is known before it runs, since imports may go round.
    const module = { exports: {} };
    made.set(address, module);
    source.run((name) => this.#link(source.needs.get(name) ?? '', sources, made), module);
    return module.exports;
  }
}
