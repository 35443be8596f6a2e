/**
 * Tells the start script, out of wrangler's process, into which it is loaded, how each build ends. Wrangler itself tells only
 * that it listens. While a build is broken it answers nothing: it keeps every request until a build succeeds.
 */
import { EventEmitter } from 'node:events';

/** Whether a build was served. What fails before that has no server to go on with. */
let wasServed = false;
const { emit } = EventEmitter.prototype;

EventEmitter.prototype.emit = function (this: EventEmitter, ...args: Parameters<typeof emit>) {
  const [event, error] = args as [unknown, (Error & { cause?: Error }) | undefined];
  // The class that has these events. Its errors end wrangler: that of a build which throws as it is loaded, too.
  const isFatal = event === 'error' && wasServed && this.constructor.name === 'DevEnv';
  if (event === 'reloadComplete') wasServed = true;
  if (isFatal) console.error(`The build does not start: ${error?.cause?.message ?? error?.message}`);
  if (event === 'buildFailed' || isFatal) process.send?.('{"event":"BUILD_FAILED"}');
  if (event === 'reloadComplete') process.send?.('{"event":"BUILD_SERVED"}');
  return isFatal || emit.apply(this, args);
} as typeof emit;
