/** Reads the arguments of a script that can say how it is used. */
import { type ParseArgsConfig, parseArgs } from 'node:util';

/** Prints how a script is used, and ends it, if `--help` is among its arguments. */
export function printUsage(usage: string): void {
  if (!process.argv.slice(2).some((arg) => arg === '--help' || arg === '-h')) return;
  console.log(`Usage: ${usage}`);
  process.exit(0);
}

/** Reads the arguments of a script. It ends with what is wrong, and how it is used, before it has done anything. */
export function readArguments<T extends ParseArgsConfig>(usage: string, config: T): ReturnType<typeof parseArgs<T>> {
  printUsage(usage);
  try {
    return parseArgs(config);
  } catch (thrown) {
    console.error(`${thrown instanceof Error ? thrown.message : thrown}\nUsage: ${usage}`);
    process.exit(1);
  }
}
