/** Decides which hosts are this machine, which are private, and which may get deliveries. */

/** @returns whether an http or https URL names this machine, on any port. */
export function isLoopback(url: string): boolean {
  const { hostname, protocol } = URL.parse(url) ?? {};
  // Only http and https origins have the host name of a machine. The origins of apps and browser extensions have custom schemes
  // and arbitrary host names.
  if (hostname === undefined || (protocol !== 'http:' && protocol !== 'https:')) return false;
  return (
    hostname === 'localhost' ||
    hostname.endsWith('.localhost') ||
    hostname === '[::1]' ||
    /^127(\.\d+){3}$/.test(hostname)
  );
}

/**
 * Returns whether a text is an origin as browsers and app shells send it: `scheme://host[:port]`, of any scheme. A wildcard is
 * none: it would be compared like any other name, and would allow nothing.
 */
export function isOrigin(text: string): boolean {
  return text === parseOrigin(text);
}

/** @returns the sentence that suggests the origin of a URL, such as one with a trailing slash; an empty string for other texts */
export function suggestOrigin(text: unknown): string {
  const origin = typeof text === 'string' ? parseOrigin(text) : undefined;
  return origin === undefined ? '' : `. Did you mean ${origin}?`;
}

function parseOrigin(text: string): string | undefined {
  const url = URL.parse(text);
  if (!url || url.host === '' || url.host.includes('*')) return undefined;
  // `URL` returns the origin `null` for a custom scheme such as that of an app, so build the origin from its parts.
  return url.origin === 'null' ? `${url.protocol}//${url.host}` : url.origin;
}

/** @returns whether a string is a host in the form of a URL, with its port unless that is 443. */
export function isUrlHost(host: string): boolean {
  // Reject a wildcard: hosts are compared literally, so an entry with one would match no host.
  return host !== '' && !host.includes('*') && URL.parse(`https://${host}/`)?.host === host;
}

/** Names that are resolved only inside a network. */
const PRIVATE_NAMES = /(^|\.)(localhost|local|internal|intranet|private|lan|home|corp|home\.arpa|localdomain)\.?$/;

/** Names of public services that resolve to an address written in the name, or to loopback. */
const REBOUND_NAMES = /(^|\.)(nip\.io|sslip\.io|xip\.io|localtest\.me|lvh\.me)\.?$/;

/**
 * Explains why nothing may be delivered to a URL. A Worker cannot see to which address a public name resolves, but the platform
 * does not let it access a private network.
 *
 * @returns a few words such as `must be an https URL`; undefined if the URL is allowed: https and public, or loopback in
 * development
 */
export function findDeliverUrlFault(url: string, development: boolean): string | undefined {
  const parsed = URL.parse(url);
  if (!parsed) return 'must be an https URL';
  if (parsed.username !== '' || parsed.password !== '') return 'must not contain credentials';
  if (development && isLoopback(url)) return undefined;
  if (parsed.protocol !== 'https:') return 'must be an https URL';
  if (isPrivateHost(parsed.hostname)) return 'must not be a private address';
  return undefined;
}

/** @param hostname in the form of URLs: in lower case, IPv4 addresses in their usual form, IPv6 in brackets */
function isPrivateHost(hostname: string): boolean {
  if (hostname.startsWith('[')) return isPrivateIpv6(hostname.slice(1, -1));
  const numbers = /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(hostname)?.slice(1).map(Number);
  if (numbers) return isPrivateIpv4(numbers);
  // A host name without a dot is resolved only in the local network, so treat it as private.
  return !hostname.replace(/\.$/, '').includes('.') || PRIVATE_NAMES.test(hostname) || REBOUND_NAMES.test(hostname);
}

/**
 * @returns whether an IPv4 address is private, a carrier's, loopback, link-local, multicast, reserved, or for documentation,
 *   benchmarks, 6to4 relays or AS112
 */
function isPrivateIpv4([a = 0, b = 0, c = 0]: readonly number[]): boolean {
  if (a === 0 || a === 10 || a === 127 || a >= 224) return true;
  if (a === 100) return b >= 64 && b < 128;
  if (a === 169) return b === 254;
  if (a === 172) return b >= 16 && b < 32;
  if (a === 192)
    return b === 168 || (b === 0 && (c === 0 || c === 2)) || (b === 88 && c === 99) || (b === 31 && c === 196);
  if (a === 198) return b === 18 || b === 19 || (b === 51 && c === 100);
  return a === 203 && b === 0 && c === 113;
}

/**
 * @returns whether an IPv6 address is not globally routed. Public is 2000::/3 without 2001::/23 (protocols such as Teredo,
 *   benchmarks and ORCHID), 6to4 and documentation: https://www.iana.org/assignments/iana-ipv6-special-registry
 */
function isPrivateIpv6(address: string): boolean {
  const [first, second] = address.split(':').map((group) => Number.parseInt(group || '0', 16));
  if (first === undefined || second === undefined || first < 0x2000 || first > 0x3fff) return true;
  if (first === 0x2001) return second < 0x200 || second === 0xdb8;
  return first === 0x2002 || (first === 0x3fff && second < 0x1000);
}
