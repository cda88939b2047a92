/**
 * The mark of origin in a picture's file: XMP with IPTC's word for images that a trained model made, the release they are
 * of, and who signed it. Any tool can write such a mark; what proves it is the signed manifest, which has the file's
 * digest. @see https://cv.iptc.org/newscodes/digitalsourcetype/ ; PNG's place for XMP: ISO 16684-1, annex A
 */
import { textChunk } from '../imaging/png.ts';
import { MANIFEST_FILE, type ReleaseRecipe, recipeId, SIGNATURE_FILE } from './manifest.ts';

export const DIGITAL_SOURCE_TYPE = 'http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia';

/** The sentence for people, wherever there is room for one. */
export const SAY =
  'Synthetic image, drawn from a trained generator. It shows no patient and must not be used for diagnosis.';

/** Who made it, and what of. */
export interface Origin {
  readonly recipe: ReleaseRecipe;
  /** Fingerprint of the coordinator's key. */
  readonly kid: string;
}

const escape = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** The same for every image of a release: nothing in it says which one this is. */
export function xmpPacket({ recipe, kid }: Origin): string {
  const of = {
    release: recipeId(recipe),
    run: recipe.runId,
    policy: recipe.policySha256,
    generator: recipe.modelSha256,
    signer: kid,
    manifest: `${MANIFEST_FILE}, signed in ${SIGNATURE_FILE}`,
  };
  const ours = Object.entries(of).map(([name, value]) => `<veilgan:${name}>${escape(value)}</veilgan:${name}>`);
  return `<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:xmpRights="http://ns.adobe.com/xap/1.0/rights/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:veilgan="urn:veilgan:release:2:">
<Iptc4xmpExt:DigitalSourceType>${DIGITAL_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>
<xmp:CreatorTool>${escape(recipe.tool)}</xmp:CreatorTool>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">${SAY}</rdf:li></rdf:Alt></dc:description>
<xmpRights:UsageTerms><rdf:Alt><rdf:li xml:lang="x-default">${escape(recipe.licence)}</rdf:li></rdf:Alt></xmpRights:UsageTerms>
${ours.join('\n')}
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>`;
}

/** The mark as chunks of a PNG, made once for all of a release. */
export const pngMark = (origin: Origin): Uint8Array[] => [textChunk('XML:com.adobe.xmp', xmpPacket(origin))];
