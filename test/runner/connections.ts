/**
 * Lets the connections of `fetch` rest for a second at most. The runtime closes one that has rested for five, and Node by itself
 * keeps it for as long: on a busy machine a test would write into a connection that is just being closed.
 */
import { Agent, setGlobalDispatcher } from 'undici';

setGlobalDispatcher(new Agent({ keepAliveTimeout: 1_000, keepAliveMaxTimeout: 1_000 }));
