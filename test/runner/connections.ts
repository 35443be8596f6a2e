/**
 * Lets the connections of `fetch` rest for a second at most. The runtime closes one that has rested for five, and Node by itself
 * keeps it for as long: on a busy machine a test would write into a connection that is just being closed.
 *
 * A GET says, as a browser does for an address that was typed, that no page has sent it: a development server with a key lets
 * nobody else read what is stored. Tests of that itself use sockets and a browser.
 */
import { Agent, type Dispatcher, setGlobalDispatcher } from 'undici';

type Interceptor = Dispatcher.DispatcherComposeInterceptor;

const asTyped: Interceptor = (dispatch) => (options, handler) => {
  const headers = options.headers as Record<string, string> | undefined;
  if (options.method !== 'GET' || headers?.origin !== undefined) return dispatch(options, handler);
  return dispatch({ ...options, headers: { 'sec-fetch-site': 'none', ...headers } }, handler);
};

const rested = { keepAliveTimeout: 1_000, keepAliveMaxTimeout: 1_000 };
setGlobalDispatcher(new Agent(rested).compose(asTyped));
