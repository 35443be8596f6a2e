import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** A program in a terminal, as a person uses it. */
export interface Terminal {
  /** Waits until the program has written something that it had not before. @returns what it wrote up to there */
  see(what: RegExp): Promise<string>;
  type(text: string): void;
  /** Ends the input, and waits for the program to end. @returns its exit code */
  end(): Promise<number | null>;
}

/** What hangs ends all the same. */
const MOST_MS = 240_000;
/** Ctrl+D. */
const END = '\u0004';

/** Runs a command in a pseudo-terminal, by `script` of util-linux, which every Linux has. */
export function startTerminal(command: string, options: { cwd: string; env: NodeJS.ProcessEnv }): Terminal {
  const child = spawn('script', ['-qefc', command, '/dev/null'], options);
  let unseen = '';
  let arrived = () => {};
  child.stdout.on('data', (piece: Buffer) => {
    unseen += piece.toString();
    arrived();
  });
  const exited = once(child, 'exit');
  // A program may end before the input does that tells it to.
  child.stdin.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  return {
    async see(what) {
      const deadline = Date.now() + MOST_MS;
      for (;;) {
        const found = what.exec(unseen);
        if (found) {
          const seen = unseen.slice(0, found.index + found[0].length);
          unseen = unseen.slice(seen.length);
          return seen;
        }
        const left = deadline - Date.now();
        if (left <= 0) throw new Error(`The terminal never showed ${what}, but: ${unseen}`);
        await new Promise<void>((resolve) => {
          const timer = setTimeout(() => resolve(), left);
          arrived = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
    },
    type: (text) => void child.stdin.write(text),
    async end() {
      child.stdin.write(END);
      const timer = setTimeout(() => child.kill(), MOST_MS);
      const [code] = (await exited) as [number | null];
      clearTimeout(timer);
      return code;
    },
  };
}
