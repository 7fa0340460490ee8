package notify

import (
	"net/url"
	"strings"
)

// consoles are the management consoles of AWS's partitions.
var consoles = map[string]string{
	"aws":        "console.aws.amazon.com",
	"aws-cn":     "console.amazonaws.cn",
	"aws-us-gov": "console.amazonaws-us-gov.com",
}

// console is the console's address for the partition and Region of an ARN.
func console(arn, region string) string {
	parts := strings.SplitN(arn, ":", 6)
	host := consoles["aws"]
	if len(parts) > 1 && consoles[parts[1]] != "" {
		host = consoles[parts[1]]
	}
	return "https://" + region + "." + host
}

func executionLink(arn, region string) string {
	return console(arn, region) + "/states/home?region=" + region + "#/v2/executions/details/" + arn
}

func bucketLink(arn, region, bucket, prefix string) string {
	return console(arn, region) + "/s3/buckets/" + bucket + "?region=" + region + "&prefix=" + url.QueryEscape(prefix)
}

// footer says where the message comes from.
func (t *text) footer(d Deployment) {
	t.blank()
	t.line("Execution:")
	t.line("%s", executionLink(d.Execution, d.Region))
}
