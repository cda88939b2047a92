/** What a JWS claims, before its signature is checked. */
export function bodyOf(jws: string): unknown {
  try {
    const payload: unknown = JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString('utf8'));
    return typeof payload === 'object' && payload !== null && 'body' in payload ? payload.body : null;
  } catch {
    return null;
  }
}
